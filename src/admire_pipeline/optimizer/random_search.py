"""The baseline: uniform random mixtures at the target."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.policy import (
    NothingToPropose,
    Policy,
    Proposal,
    Recommendation,
    trial_rng,
)
from admire_pipeline.optimizer.pool import untried
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials


class RandomSearch(Policy):
    """Trains random mixtures at the target and recommends the best one observed there.

    It has no set-up phase and no surrogate: every proposal is a uniform draw from the polytope,
    and the score of the recommendation is the observed one, with its own standard error.
    """

    name = "random"

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Draw the next mixture, from what is left of the target's pool if there is one."""
        [target] = self._proposable(space, [len(space.fidelities) - 1])
        rng = trial_rng(seed, trials)
        if space.pools:
            left = untried(space, trials, target)
            if not len(left):
                raise NothingToPropose("every mixture of the target's pool was tried")
            mixture = left[rng.integers(len(left))]
        else:
            mixture = space.mixtures.sample(1, rng)[0]
        return self._proposal(space, mixture, target, phase="search")

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Return the best trial observed at the target, None if there is none."""
        usable = trials.observed & (trials.fidelities == len(space.fidelities) - 1)
        seen = trials.where(usable)
        if not space.pools:
            seen = seen.feasible(space)
        if not len(seen):
            return None
        best = int(np.argmax(seen.scores))
        return Recommendation(
            mixture=seen.mixtures[best],
            score_mean=float(seen.scores[best]),
            score_sd=float(seen.score_errors[best]),
            trial=seen.names[best],
        )
