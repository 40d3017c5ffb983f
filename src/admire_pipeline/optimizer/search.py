"""Maximisation over the constrained simplex, and over a finite set of mixtures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.exceptions.errors import BotorchError
from botorch.optim import optimize_acqf

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer.numerics import one_thread, quiet

_ITERATIONS = 50
_TOLERANCE = 1e-9  # in the unit of the climb; scipy's own 1e-6 is too coarse for small gains


@dataclass(frozen=True)
class Ranking:
    """Mixtures from best to worst.

    Attributes:
        mixtures: ``n x K`` weights.
        values: ``n`` values, descending.
    """

    mixtures: np.ndarray
    values: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The first mixture (``K``)."""
        return np.asarray(self.mixtures[0])


@one_thread()
def rank(acquisition: AcquisitionFunction, mixtures: np.ndarray) -> Ranking:
    """Rank given mixtures (``n x K``) by an acquisition function; equal ones keep their order."""
    with torch.no_grad(), quiet():
        values = acquisition(torch.from_numpy(mixtures).unsqueeze(-2)).numpy()
    return _sorted(mixtures, values)


def _sorted(mixtures: np.ndarray, values: np.ndarray) -> Ranking:
    order = np.argsort(-values, kind="stable")
    return Ranking(mixtures[order], values[order])


@one_thread()
def maximise(
    acquisition: AcquisitionFunction,
    space: MixtureSpace,
    candidates: np.ndarray,
    *,
    restarts: int = 4,
    together: bool = False,
    unit: float | None = None,
) -> Ranking:
    """Climb from the best candidates to maxima of an acquisition function over the simplex.

    The sum is an equality constraint and the weights have bounds (sequential least squares
    programming), so every step is feasible and nothing is rejected.

    Args:
        acquisition: What to maximise, over ``b x 1 x K`` mixtures.
        space: The constrained simplex.
        candidates: ``n x K`` feasible starting points.
        restarts: Number of climbs.
        together: Climb all at once, as one problem: fewer evaluations, of more mixtures each. It
            pays where an evaluation takes as long for one mixture as for several.
        unit: The climb is of the function over this, which decides its first step and when it
            ends. None: the range over the candidates, so that it does not matter in which unit the
            scores are.

    Returns:
        The ranking of the maxima and all candidates.
    """
    ranked = rank(acquisition, candidates)
    if unit is None:
        unit = float(ranked.values[0] - ranked.values[-1])
    if not unit > 0 or not np.any(space.upper > space.lower):
        return ranked
    starts = torch.from_numpy(ranked.mixtures[:restarts].copy())
    domains = torch.arange(len(space))
    try:
        with quiet():
            found, _ = optimize_acqf(
                _InUnits(acquisition, unit),
                bounds=torch.from_numpy(np.stack([space.lower, space.upper])),
                q=1,
                num_restarts=len(starts),
                batch_initial_conditions=starts.unsqueeze(-2),
                equality_constraints=[(domains, torch.ones(len(space), dtype=starts.dtype), 1.0)],
                options={
                    "batch_limit": len(starts) if together else 1,
                    "maxiter": _ITERATIONS,
                    "ftol": _TOLERANCE,
                },
                return_best_only=False,
                retry_on_optimization_warning=False,
            )
    except (BotorchError, RuntimeError):
        # The climb left the simplex or met a value that is not a number: the candidates stand.
        return ranked
    climbed = rank(acquisition, space.project(found.squeeze(-2).numpy()))
    return _sorted(
        np.vstack([climbed.mixtures, ranked.mixtures]),
        np.concatenate([climbed.values, ranked.values]),
    )


class _InUnits(AcquisitionFunction):
    """An acquisition function over a constant."""

    def __init__(self, acquisition: AcquisitionFunction, unit: float) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.acquisition = acquisition
        self.unit = unit

    def forward(self, X: torch.Tensor) -> torch.Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``."""
        return self.acquisition(X) / self.unit


def candidates(
    space: MixtureSpace, around: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Cover the simplex: uniform draws, draws towards its faces, and draws near given mixtures.

    Args:
        space: The constrained simplex.
        around: ``m x K`` feasible mixtures worth a closer look; they come first in the result.
        number: Draws of each kind.
        rng: Source of randomness.

    Returns:
        Feasible mixtures, one a row.
    """
    broad = np.vstack([space.sample(number, rng), space.spread(number, rng)])
    if not len(around):
        return broad
    # A convex combination of feasible mixtures is feasible.
    step = np.exp(rng.uniform(np.log(0.003), np.log(0.3), (number, 1)))
    near = (1 - step) * around[rng.integers(len(around), size=number)]
    near += step * broad[rng.integers(len(broad), size=number)]
    return space.project(np.vstack([around, near, broad]))
