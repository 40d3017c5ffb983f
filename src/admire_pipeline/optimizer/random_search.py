"""The baseline: uniform random mixtures at the target."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.policy import Policy, Proposal, Recommendation, trial_rng
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials


class RandomSearch(Policy):
    """Trains random mixtures at the target and recommends the best one observed there.

    It has no set-up phase and no surrogate: every proposal is a uniform draw from the polytope,
    and the score of the recommendation is the observed one, with its own standard error.
    """

    name = "random"

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Draw the next mixture."""
        mixture = space.mixtures.sample(1, trial_rng(seed, trials))[0]
        return self._proposal(space, mixture, len(space.fidelities) - 1, phase="search")

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Return the best trial observed at the target, None if there is none."""
        usable = trials.observed & (trials.fidelities == len(space.fidelities) - 1)
        seen = trials.where(usable).feasible(space)
        if not len(seen):
            return None
        best = int(np.argmax(seen.scores))
        return Recommendation(
            mixture=seen.mixtures[best],
            score_mean=float(seen.scores[best]),
            score_sd=float(seen.score_errors[best]),
            trial=seen.names[best],
        )
