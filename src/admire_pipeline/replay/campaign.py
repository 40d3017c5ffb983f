"""One campaign replayed: a policy spends a budget on a problem."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from admire_pipeline.optimizer import Policy, Trials
from admire_pipeline.optimizer.policy import NothingToPropose
from admire_pipeline.optimizer.trials import METRIC_PREFIX, MIXTURE_PREFIX
from admire_pipeline.replay.problem import Problem

RANDOM_PICK = 1.0
"""Normalised regret of a policy that recommends nothing yet: that of a random pick."""

_ROUND_OFF = 1e-9


@dataclass(frozen=True)
class Step:
    """A trial and what the policy recommends after it.

    Attributes:
        step: Trials so far; 0 is before the first.
        cost: What they have cost together, in trainings of the target.
        fidelity: Name of the trial's fidelity; empty at step 0.
        honest: Normalised regret of the current recommendation.
        published: Least normalised regret of all recommendations so far, as the paper reports it:
            it takes for granted that each was trained at the target to be told apart, unpaid.
        propose_seconds: Time the proposal took; 0 at step 0.
        recommend_seconds: Time the recommendation took.
    """

    step: int
    cost: float
    fidelity: str
    honest: float
    published: float
    propose_seconds: float
    recommend_seconds: float


def replay(problem: Problem, policy: Policy, budget: float, seed: int) -> list[Step]:
    """Replay one campaign.

    It ends when the policy has nothing to propose, or at the first proposal that the rest of the
    budget does not pay for; the recommendation stands from there on.

    Args:
        problem: What is searched.
        policy: How.
        budget: What the trials may cost together, in trainings of the target.
        seed: Seed of the campaign, at least 0. It decides all that is random: in the policy, and
            in the noise of a simulator's runs.

    Returns:
        Step 0, then one step a trial.

    Raises:
        ValueError: If the policy proposes or recommends a mixture that the problem does not have,
            or proposes a mixture of a pool twice.
    """
    history = _History(problem)
    steps = [_recommend(problem, policy, history, seed, None)]
    while True:
        began = time.perf_counter()
        try:
            proposal = policy.propose(problem.space, history.trials(), seed)
        except NothingToPropose:
            return steps
        seconds = time.perf_counter() - began
        names = [fidelity.name for fidelity in problem.space.fidelities]
        fidelity = names.index(proposal.fidelity)
        cost = history.cost + problem.space.fidelities[fidelity].cost
        if cost > budget * (1 + _ROUND_OFF):
            return steps
        history.run(proposal.mixture, fidelity, np.random.default_rng([seed, len(history)]))
        step = Step(len(history), cost, proposal.fidelity, 0.0, 0.0, seconds, 0.0)
        steps.append(_recommend(problem, policy, history, seed, step, steps[-1].published))


@dataclass
class _History:
    """The trials so far."""

    problem: Problem
    cost: float = 0.0
    mixtures: list[np.ndarray] = field(default_factory=list)
    fidelities: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    metrics: list[np.ndarray] = field(default_factory=list)
    _tried: set[tuple[int, bytes]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.scores)

    def run(self, mixture: np.ndarray, fidelity: int, rng: np.random.Generator) -> None:
        """Run a trial and add it."""
        chosen = self.problem.space.fidelities[fidelity]
        key = (fidelity, mixture.tobytes())
        if self.problem.space.pools and key in self._tried:
            raise ValueError(f"proposed a mixture of the pool of {chosen.name!r} twice: {mixture}")
        result = self.problem.evaluate(mixture, fidelity, rng)
        self._tried.add(key)
        self.mixtures.append(mixture)
        self.fidelities.append(fidelity)
        self.scores.append(result.score)
        self.metrics.append(result.metrics)
        self.cost += chosen.cost

    def trials(self) -> Trials:
        """The trials as a policy sees them."""
        space = self.problem.space
        if not self.scores:
            return Trials.from_frame(space, pd.DataFrame())
        names = [fidelity.name for fidelity in space.fidelities]
        weights = [MIXTURE_PREFIX + domain for domain in space.mixtures.domains]
        metrics = [METRIC_PREFIX + metric for metric in space.objective]
        frame = pd.DataFrame(
            np.hstack([np.vstack(self.mixtures), np.vstack(self.metrics)]),
            columns=[*weights, *metrics],
        )
        frame.insert(0, "trial", [f"trial-{number:05d}" for number in range(len(frame))])
        frame.insert(1, "fidelity", [names[fidelity] for fidelity in self.fidelities])
        frame.insert(2, "status", "observed")
        frame.insert(3, "score", self.scores)
        return Trials.from_frame(space, frame)


def _recommend(
    problem: Problem,
    policy: Policy,
    history: _History,
    seed: int,
    step: Step | None,
    least: float = float("inf"),
) -> Step:
    """Fill in the regrets of the recommendation after a step (None: before the first)."""
    began = time.perf_counter()
    recommendation = policy.recommend(problem.space, history.trials(), seed)
    seconds = time.perf_counter() - began
    honest = RANDOM_PICK if recommendation is None else problem.regret(recommendation.mixture)
    trial = step or Step(0, 0.0, "", 0.0, 0.0, 0.0, 0.0)
    return Step(
        trial.step,
        trial.cost,
        trial.fidelity,
        honest,
        min(least, honest),
        trial.propose_seconds,
        seconds,
    )
