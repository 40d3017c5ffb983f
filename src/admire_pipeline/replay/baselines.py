"""Baseline policies that only the benchmark knows; the others are in ``optimizer``."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer import (
    Policy,
    Proposal,
    Recommendation,
    Space,
    Trials,
)
from admire_pipeline.optimizer.policy import NothingToPropose
from admire_pipeline.optimizer.pool import find_trial


class Uniform(Policy):
    """Equal weights: one trial at the target, recommended from the start."""

    name = "uniform"

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Try the mixture of equal weights at the target, once."""
        target = len(space.fidelities) - 1
        if np.any(trials.fidelities == target):
            raise NothingToPropose("the uniform mixture was tried")
        return self._proposal(space, _uniform(space), target, phase="design")

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation:
        """Return the mixture of equal weights, with its score once there is one."""
        at_target = trials.where(trials.observed & (trials.fidelities == len(space.fidelities) - 1))
        mixture = _uniform(space)
        score = float(at_target.scores[0]) if len(at_target) else float("nan")
        return Recommendation(mixture, score, float("nan"), find_trial(at_target, mixture))


def _uniform(space: Space) -> np.ndarray:
    """Return the feasible mixture (``K``) nearest to equal weights."""
    return nearest(space, space.mixtures.uniform())


def nearest(space: Space, mixture: np.ndarray) -> np.ndarray:
    """Return the mixture that may be recommended nearest to this one (``K``), Euclidean norm."""
    if not space.pools:
        return space.mixtures.project(mixture)
    pool = space.pools[-1]
    return np.asarray(pool[np.argmin(((pool - mixture) ** 2).sum(axis=1))])
