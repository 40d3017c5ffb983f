"""Made-up run tables of which it is known how the small sizes mislead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.replay.table import RunTable

Kind = Literal["transfer", "noise", "reversed"]
"""What the smaller sizes tell about the target: the order of mixtures, nothing, the opposite."""

CHEAP = "cheap-"
"""Before a kind: the smallest size is next to free, at a thousandth of the target's cost."""

KINDS: tuple[str, ...] = (*get_args(Kind), *(CHEAP + kind for kind in get_args(Kind)))

PREFIX = "made-up-"
"""The tables' names: this, then the kind."""

_TERMS = 40
_NOISE = 0.1
# Processors differ in the last bits, and a benchmark knows a table by its hash.
_DIGITS = 9


def made_up_table(
    kind: str,
    *,
    domains: int = 8,
    costs: Sequence[float] | None = None,
    metrics: int = 3,
    runs: Sequence[int] = (200, 100, 80),
    seed: int = 0,
) -> RunTable:
    """Make a table up.

    At the target each metric is a smooth random function of the square roots of the weights, a
    linear part plus Fourier terms, with a standard deviation of 1 over the mixtures, plus noise of
    0.1. At the smaller sizes it is the same with three times the noise (``transfer``), its negative
    with as much (``reversed``), or independent standard normals (``noise``). Mixtures are Dirichlet
    draws of varied concentration, others at each size. Weights and metrics have nine digits.

    Args:
        kind: ``transfer``, ``noise`` or ``reversed``, or one of these after ``cheap-``.
        domains: ``K >= 2``.
        costs: Cost of a run at each of the ``M`` fidelities, ascending; the last is the target.
            None: 0.02, 0.2 and 1, or after ``cheap-`` 0.001, 0.06 and 1.
        metrics: ``P >= 1``; higher is better.
        runs: Number of runs at each fidelity, ``M``.
        seed: Another one makes another table.

    Returns:
        The table, named ``made-up-<kind>``; domains ``domain-1`` and on, fidelities ``size-1`` and
        on, metrics ``metric-1`` and on.

    Raises:
        UserError: If there is no such kind.
    """
    import pandas as pd

    if kind not in KINDS:
        raise UserError(f"kind: unknown {kind!r}; {suggest(kind, KINDS)}")
    costs = costs or ((0.001, 0.06, 1.0) if kind.startswith(CHEAP) else (0.02, 0.2, 1.0))
    told = kind.removeprefix(CHEAP)
    rng = np.random.default_rng([seed, KINDS.index(told)])
    frequencies = rng.standard_t(5, (metrics, _TERMS, domains)) * 2
    phases = rng.uniform(0, 2 * np.pi, (metrics, _TERMS))
    amplitudes = rng.standard_normal((metrics, _TERMS)) / _TERMS**0.5
    slopes = rng.standard_normal((metrics, domains))
    frames = []
    level = scale = None
    # The target comes first: it sets the unit of the metrics.
    for size in reversed(range(len(costs))):
        concentrations = np.exp(rng.uniform(np.log(0.3), np.log(3), (runs[size], 1)))
        draws = rng.standard_gamma(concentrations, (runs[size], domains)) + 1e-12
        mixtures = _round(draws / draws.sum(axis=1, keepdims=True))
        roots = np.sqrt(mixtures)
        waves = np.cos(np.einsum("nk,ptk->npt", roots, frequencies) + phases)
        values = 2 * roots @ slopes.T + np.einsum("npt,pt->np", waves, amplitudes)
        if level is None or scale is None:
            level, scale = values.mean(axis=0), values.std(axis=0)
        values = (values - level) / scale
        noise = _NOISE
        if size < len(costs) - 1:
            noise *= 3
            values = {"transfer": values, "noise": 0 * values, "reversed": -values}[told]
            noise = 1.0 if told == "noise" else noise
        values = (values + noise * rng.standard_normal(values.shape)).round(_DIGITS)
        frame = pd.DataFrame(
            np.hstack([mixtures, values]),
            columns=[f"mixture.domain-{i + 1}" for i in range(domains)]
            + [f"metric.metric-{i + 1}" for i in range(metrics)],
        )
        frame.insert(0, "fidelity", f"size-{size + 1}")
        frame.insert(1, "cost", costs[size])
        frames.append(frame)
    return RunTable.from_frame(
        f"{PREFIX}{kind}", pd.concat(frames[::-1], ignore_index=True), "maximize"
    )


def _round(mixtures: np.ndarray) -> np.ndarray:
    """Round weights (``n x K``) to so many digits that still sum to one."""
    one = 10**_DIGITS
    parts = np.rint(one * mixtures).astype(np.int64)
    parts[np.arange(len(parts)), parts.argmax(axis=1)] += one - parts.sum(axis=1)
    return np.asarray(parts / one)
