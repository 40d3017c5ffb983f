"""Spaces and trials tables for the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Space

COSTS = (0.1, 0.35, 1.0)


def make_space(domains: int = 3, costs: Sequence[float] = COSTS) -> Space:
    mixtures = MixtureSpace(tuple(f"d{i}" for i in range(domains)))
    return Space(mixtures, tuple(Fidelity(f"size{i}", cost) for i, cost in enumerate(costs)))


def make_frame(
    space: Space,
    mixtures: np.ndarray,
    fidelities: Sequence[int],
    scores: Sequence[float],
    pending: Sequence[int] = (),
) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "trial": [f"t{i}" for i in range(len(scores))],
            "fidelity": [space.fidelities[i].name for i in fidelities],
            "status": "observed",
            "score": np.array(scores, dtype=float),
            "score_se": 0.01,
            "cost": [space.fidelities[i].cost for i in fidelities],
        }
    )
    frame.loc[list(pending), "status"] = "pending"
    frame.loc[list(pending), "score"] = np.nan
    weights = pd.DataFrame(mixtures, columns=[f"mixture.{name}" for name in space.mixtures.domains])
    return pd.concat([frame, weights], axis=1)


def hill(mixtures: np.ndarray) -> np.ndarray:
    """A smooth score with its best mixture inside, more of the first domains than of the last."""
    best = np.arange(mixtures.shape[1], 0, -1, dtype=float)
    best /= best.sum()
    return -((np.sqrt(mixtures) - np.sqrt(best)) ** 2).sum(axis=1)


def hill_frame(
    space: Space, fidelities: Sequence[int], seed: int = 0, pending: Sequence[int] = ()
) -> pd.DataFrame:
    """Trials of ``hill``, lower by one for each size below the target."""
    rng = np.random.default_rng(seed)
    mixtures = space.mixtures.spread(len(fidelities), rng)
    below = np.array(fidelities) - (len(space.fidelities) - 1)
    scores = hill(mixtures) + below + 0.005 * rng.normal(size=len(fidelities))
    return make_frame(space, mixtures, fidelities, scores.tolist(), pending)


def make_pools(space: Space, runs: Sequence[int], seed: int = 0) -> Space:
    """The space with a pool of so many mixtures for each size, two of them at every size."""
    rng = np.random.default_rng([seed, 1])
    shared = space.mixtures.spread(2, rng)
    pools = [np.vstack([shared, space.mixtures.spread(n - 2, rng)]) for n in runs]
    return replace(space, pools=tuple(pools))


def with_metrics(
    space: Space, frame: pd.DataFrame, objective: Mapping[str, float], seed: int = 0
) -> tuple[Space, pd.DataFrame]:
    """The same with metrics of which the score is the weighted sum, the last one absorbing it."""
    rng = np.random.default_rng([seed, 2])
    weights = [f"mixture.{name}" for name in space.mixtures.domains]
    roots = np.sqrt(np.maximum(frame[weights].to_numpy(), 0))
    values = roots @ rng.normal(size=(len(space.mixtures), len(objective)))
    signs = np.array(list(objective.values()))
    score = frame["score"].to_numpy(dtype=float)
    values[:, -1] = (score - values[:, :-1] @ signs[:-1]) / signs[-1]
    metrics = pd.DataFrame(values, columns=[f"metric.{name}" for name in objective])
    return replace(space, objective=dict(objective)), pd.concat([frame, metrics], axis=1)
