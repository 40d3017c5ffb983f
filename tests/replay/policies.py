"""Small policies, exact in what they do, for the tests of replays."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer import (
    Policy,
    PolicySettings,
    Proposal,
    Recommendation,
    Space,
    Trials,
)
from admire_pipeline.optimizer.policy import NothingToPropose


class InTurn(Policy):
    """Tries the pool of one fidelity row by row; recommends the best of the target, or nothing."""

    name = "in-turn"

    def __init__(self, fidelity: int = -1, limit: int = 10**9) -> None:
        super().__init__(PolicySettings())
        self.fidelity = fidelity
        self.limit = limit

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        position = range(len(space.fidelities))[self.fidelity]
        if len(trials) >= min(self.limit, len(space.pools[position])):
            raise NothingToPropose
        return self._proposal(space, space.pools[position][len(trials)], position, phase="search")

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        seen = trials.where(trials.fidelities == len(space.fidelities) - 1)
        if not len(seen):
            return None
        best = int(np.argmax(seen.scores))
        return Recommendation(seen.mixtures[best], float(seen.scores[best]), 0.0, seen.names[best])


class Stuck(InTurn):
    """Proposes the same mixture again and again."""

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        return self._proposal(space, space.pools[-1][0], len(space.fidelities) - 1, phase="search")
