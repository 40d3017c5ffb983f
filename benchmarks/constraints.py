"""What a constraint on a metric costs, and whether it is kept.

    python benchmarks/constraints.py [--table tulu] [--metrics a,b] [--seeds 5] [--budget 10]

On a simulator (docs/benchmark.md) the table's average is to be made best where one metric is at
least as good as of the best quarter of the table's target mixtures: in turn the four metrics that
agree least with the average, by their correlation over the table's target runs. Printed are, as
means over metrics and seeds,

- `kept`: how many of the recommended mixtures keep the constraint, by the simulator's truth;
- `regret` of those that do: 0 the best mixture that keeps it, 1 a random one;
- `both`: the same of all, where a mixture that does not keep it counts as a random one, and its
  standard error.

`heeded` is our policy, which also says how likely it takes its recommendation to keep the
constraint: printed as a mean, and how many were kept of those with the probability asked for.
`ignored` is our policy without the constraint, `random` tries mixtures of the target at random and
recommends the best one whose trial kept it.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from torch import Tensor

from admire_pipeline.optimizer import Policy, Trials, make_policy
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.search import maximise
from admire_pipeline.pipelines.benchmark.plan import SIMULATORS
from admire_pipeline.replay.campaign import History
from admire_pipeline.replay.published import DOWNLOADS, read_pile, read_tulu
from admire_pipeline.replay.simulator import SimulatorProblem
from admire_pipeline.replay.table import RunTable

PROJECT = Path(__file__).resolve().parents[1]
TABLES = {"tulu": read_tulu, "pile": read_pile}
QUANTILE = 0.75
PRICE = 10.0  # more than the score has of the metric
SPARE = 1e-5
POLICIES = ("heeded", "ignored", "random")


class Constrained:
    """A simulator's average with a constraint on one of its metrics.

    Args:
        table: Name of the table.
        metric: The metric under the constraint.
        seed: Of the simulator.
    """

    def __init__(self, table: str, metric: str, seed: int) -> None:
        runs = TABLES[table](PROJECT / DOWNLOADS)
        self.problem = SimulatorProblem(runs, "average", seed, PROJECT / SIMULATORS)
        objective = self.problem.space.objective
        self.metric, self.column = metric, list(objective).index(metric)
        self.weights = np.array(list(objective.values()))
        self.sign = float(np.sign(objective[metric]))  # of a loss less is better
        self.target = len(runs.fidelities) - 1
        known = runs.mixtures(self.target)
        self.bound = float(np.quantile(self._goodness(known), QUANTILE))
        self.best = self._best(known, np.random.default_rng(seed))

    def constraint(self) -> Constraint:
        """Return the constraint as our policy takes it."""
        if self.sign > 0:
            return Constraint(self.metric, at_least=self.bound)
        return Constraint(self.metric, at_most=-self.bound)

    def keeps(self, mixtures: np.ndarray) -> np.ndarray:
        """Tell which mixtures (``n x K``) keep the constraint."""
        return self._goodness(mixtures) >= self.bound

    def regret(self, mixture: np.ndarray) -> float:
        """Return the regret of a mixture that keeps the constraint."""
        lost = self.best - self.problem.truth(mixture)
        return lost / (self.best - self.problem.typical)

    def _goodness(self, mixtures: np.ndarray) -> np.ndarray:
        return self.sign * self._metrics(mixtures)[:, self.column]

    def _metrics(self, mixtures: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.problem.draw(torch.from_numpy(mixtures), self.target).numpy()

    def _best(self, known: np.ndarray, rng: np.random.Generator) -> float:
        """The best score among mixtures that keep the constraint, by climbs from many."""
        space = self.problem.space.mixtures
        tried = np.vstack([known, space.spread(500, rng), space.sample(500, rng)])
        climbed = maximise(Truth(self), space, tried, restarts=8).mixtures
        kept = climbed[self.keeps(climbed)]
        return float((self._metrics(kept) @ self.weights).max())


class Truth(AcquisitionFunction):
    """The true score, less a price for what a mixture is short of the bound.

    Args:
        case: The problem.
    """

    def __init__(self, case: Constrained) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.case = case

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``."""
        parts = [self._value(part) for part in X.squeeze(-2).split(500)]
        return torch.cat(parts)

    def _value(self, mixtures: Tensor) -> Tensor:
        case = self.case
        metrics = case.problem.draw(mixtures, case.target)
        short = case.bound + SPARE - case.sign * metrics[:, case.column]
        return metrics @ torch.from_numpy(case.weights) - PRICE * short.clamp_min(0)


def spend(policy: Policy, problem: SimulatorProblem, budget: float, seed: int) -> Trials:
    """Run a campaign and return its trials."""
    history = History(problem)
    names = [fidelity.name for fidelity in problem.space.fidelities]
    while True:
        proposal = policy.propose(problem.space, history.trials(), seed)
        if history.cost + proposal.cost > budget * (1 + 1e-9):
            return history.trials()
        rng = np.random.default_rng([seed, len(history)])
        history.run(proposal.mixture, names.index(proposal.fidelity), rng)


def recommended(name: str, case: Constrained, budget: float, seed: int) -> tuple[np.ndarray, float]:
    """Return the mixture (``K``) that a policy recommends once the budget is spent.

    And how likely it takes it to keep the constraint, NaN where it knows of none.
    """
    if name == "random":
        trials = spend(make_policy("random"), case.problem, budget, seed)
        kept = case.sign * trials.metrics[:, case.column] >= case.bound
        # Where no trial has kept it, the one that came nearest.
        rank = np.where(kept, trials.scores, -np.inf)
        if not kept.any():
            rank = case.sign * trials.metrics[:, case.column]
        return np.asarray(trials.mixtures[int(rank.argmax())]), np.nan
    heeded = [case.constraint()] if name == "heeded" else []
    policy = make_policy(constraints=heeded)
    trials = spend(policy, case.problem, budget, seed)
    found = policy.recommend(case.problem.space, trials, seed)
    if found is None:
        raise RuntimeError(f"{name} recommends nothing")
    likely = [constraint.likelihood(*found.metrics[constraint.metric]) for constraint in heeded]
    return found.mixture, likely[0] if likely else np.nan


def measure(job: tuple[str, str, int, float]) -> list[tuple[bool, float, float]]:
    """Run the campaigns of one constraint: is it kept, with what regret, how likely was it."""
    table, metric, seed, budget = job
    torch.set_num_threads(1)
    case = Constrained(table, metric, seed)
    found = [recommended(name, case, budget, seed) for name in POLICIES]
    return [(bool(case.keeps(m[None])[0]), case.regret(m), likely) for m, likely in found]


def contrary(runs: RunTable) -> list[str]:
    """Return the four metrics that agree least with the average at the target."""
    values = runs.values(len(runs.fidelities) - 1)
    signs = np.array([runs.objectives()["average"][metric] for metric in runs.metrics])
    average = values @ signs
    agree = [np.corrcoef(sign * v, average)[0, 1] for sign, v in zip(signs, values.T, strict=True)]
    return [runs.metrics[i] for i in np.argsort(agree)[:4]]


def main() -> None:
    """Run all campaigns and print a line a policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="tulu")
    parser.add_argument("--metrics", help="one after the other")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=100, help="seed")
    parser.add_argument("--budget", type=float, default=10)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    runs = TABLES[arguments.table](PROJECT / DOWNLOADS)
    metrics = arguments.metrics.split(",") if arguments.metrics else contrary(runs)
    # Its fits, once for all processes.
    SimulatorProblem(runs, "average", arguments.first, PROJECT / SIMULATORS)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    jobs = [(arguments.table, m, seed, arguments.budget) for m, seed in product(metrics, seeds)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        found = np.array(list(pool.map(measure, jobs)))  # jobs x policies x 3
    print(f"{arguments.table}, {seeds}, constraints on {', '.join(metrics)}")  # noqa: T201
    for policy, (kept, regrets, likely) in zip(POLICIES, found.transpose(1, 2, 0), strict=True):
        keeps = kept.astype(bool)
        both = np.where(keeps, regrets, 1)
        error = both.std(ddof=1) / len(both) ** 0.5
        print(  # noqa: T201
            f"{policy:8s} kept {kept.mean():.2f}  regret {regrets[keeps].mean():.3f}  "
            f"both {both.mean():.3f} ± {error:.3f}"
        )
        sure = likely >= Constraint.probability
        if not np.isnan(likely).all():
            print(  # noqa: T201
                f"{'':8s} predicted {likely.mean():.2f}; of {sure.sum()} with the probability "
                f"asked for, {keeps[sure].sum()} kept"
            )


if __name__ == "__main__":
    main()
