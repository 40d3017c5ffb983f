"""One campaign replayed: a policy spends a budget on a problem."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from admire_pipeline.optimizer import Policy, Trials
from admire_pipeline.optimizer.policy import NothingToPropose
from admire_pipeline.optimizer.trials import (
    METRIC_ERROR_PREFIX,
    METRIC_PREFIX,
    MIXTURE_PREFIX,
    score_errors,
)
from admire_pipeline.replay.problem import Problem

RANDOM_PICK = 1.0
"""Normalised regret of a policy that recommends nothing yet: that of a random pick."""

EACH = 50
"""Trials after each of which a recommendation is asked for."""

GROWTH = 0.02
"""After these, by how much of it the cost grows until the next recommendation. A policy that makes
hundreds of cheap trials would spend its time on recommendations that no curve shows."""

_ROUND_OFF = 1e-9


@dataclass(frozen=True)
class Step:
    """A trial and what the policy recommends after it.

    Attributes:
        step: Trials so far; 0 is before the first.
        cost: What they have cost together, in trainings of the target.
        fidelity: Name of the trial's fidelity; empty at step 0.
        honest: Normalised regret of the current recommendation (``EACH``, ``GROWTH``: of the last
            one that was asked for).
        published: Least normalised regret of all recommendations asked for so far, as the paper
            reports it: it takes for granted that each was trained at the target to be told apart,
            unpaid.
        propose_seconds: Time the proposal took; 0 at step 0.
        recommend_seconds: Time the recommendation took; 0 where none was asked for.
    """

    step: int
    cost: float
    fidelity: str
    honest: float
    published: float
    propose_seconds: float
    recommend_seconds: float


def replay(
    problem: Problem, policy: Policy, budget: float, seed: int, max_trials: int | None = None
) -> list[Step]:
    """Replay one campaign.

    It ends when the policy has nothing to propose, at the first proposal that the rest of the
    budget does not pay for, or after a number of trials; the recommendation stands from there on.

    Args:
        problem: What is searched.
        policy: How.
        budget: What the trials may cost together, in trainings of the target.
        seed: Seed of the campaign, at least 0. It decides all that is random: in the policy, and
            in the noise of a simulator's runs.
        max_trials: The most trials; None: as many as are paid for.

    Returns:
        Step 0, then one step a trial.

    Raises:
        ValueError: If the policy proposes or recommends a mixture that the problem does not have,
            or proposes a mixture of a pool twice.
    """
    history = History(problem)
    names = [fidelity.name for fidelity in problem.space.fidelities]
    honest, seconds = _recommend(problem, policy, history, seed)
    steps = [Step(0, 0.0, "", honest, honest, 0.0, seconds)]
    asked_at = 0.0
    while max_trials is None or len(history) < max_trials:
        began = time.perf_counter()
        try:
            proposal = policy.propose(problem.space, history.trials(), seed)
        except NothingToPropose:
            break
        proposing = time.perf_counter() - began
        fidelity = names.index(proposal.fidelity)
        cost = history.cost + problem.space.fidelities[fidelity].cost
        if cost > budget * (1 + _ROUND_OFF):
            break
        history.run(proposal.mixture, fidelity, np.random.default_rng([seed, len(history)]))
        published, seconds = steps[-1].published, 0.0
        if len(history) <= EACH or cost >= asked_at * (1 + GROWTH):
            asked_at = cost
            honest, seconds = _recommend(problem, policy, history, seed)
            published = min(published, honest)
        count = len(history)
        steps.append(Step(count, cost, proposal.fidelity, honest, published, proposing, seconds))
    if steps[-1].cost > asked_at:
        honest, seconds = _recommend(problem, policy, history, seed)
        published = min(steps[-1].published, honest)
        steps[-1] = replace(
            steps[-1], honest=honest, published=published, recommend_seconds=seconds
        )
    return steps


@dataclass
class History:
    """The trials so far."""

    problem: Problem
    cost: float = 0.0
    mixtures: list[np.ndarray] = field(default_factory=list)
    fidelities: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    metrics: list[np.ndarray] = field(default_factory=list)
    errors: list[np.ndarray] = field(default_factory=list)
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
        self.errors.append(result.errors)
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
        errors = np.vstack(self.errors)
        frame[[METRIC_ERROR_PREFIX + metric for metric in space.objective]] = errors
        frame["score_se"] = score_errors(errors, np.array(list(space.objective.values())))
        return Trials.from_frame(space, frame)


def _recommend(
    problem: Problem, policy: Policy, history: History, seed: int
) -> tuple[float, float]:
    """The regret of the policy's recommendation, and the seconds that it took."""
    began = time.perf_counter()
    recommendation = policy.recommend(problem.space, history.trials(), seed)
    seconds = time.perf_counter() - began
    honest = RANDOM_PICK if recommendation is None else problem.regret(recommendation.mixture)
    return honest, seconds
