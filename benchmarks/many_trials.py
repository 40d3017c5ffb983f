"""What our policy loses where a campaign has more trials than its surrogate is fitted to.

    python benchmarks/many_trials.py [--trials 1000,5000] [--seeds 5] [--problems tulu,...]

The truth is that of a simulator (docs/benchmark.md), of a table's average. A history is made up: a
quarter of the trials anywhere, the others from near to far about the best of 500 random mixtures;
60, 30 and 10 % of them at each size. From it the policy recommends a mixture, once with room for
1,000 trials and all draws, once as it is. Printed are, as means over seeds,

- the regret of what they recommend, 0 the best mixture and 1 a random one, and the difference with
  its standard error;
- the error of the predicted scores at the target, as a root mean square in the same unit: of
  mixtures anywhere, and of mixtures near the best ones tried.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from admire_pipeline.optimizer import Trials, fitting, make_policy, subset
from admire_pipeline.optimizer.search import candidates
from admire_pipeline.pipelines.benchmark.plan import SIMULATORS
from admire_pipeline.replay.campaign import History
from admire_pipeline.replay.published import DOWNLOADS, read_pile, read_tulu
from admire_pipeline.replay.simulator import SimulatorProblem
from admire_pipeline.replay.synthetic import made_up_table
from admire_pipeline.replay.table import RunTable

PROJECT = Path(__file__).resolve().parents[1]
ROOM = 1000
SHARES = (0.6, 0.3, 0.1)
POINTS = 300
TABLES: dict[str, Callable[[], RunTable]] = {
    "tulu": partial(read_tulu, PROJECT / DOWNLOADS),
    "pile": partial(read_pile, PROJECT / DOWNLOADS),
    **{
        kind: partial(made_up_table, kind, domains=20, metrics=7, runs=(300, 150, 150))
        for kind in ("transfer", "noise", "reversed")
    },
}


def make_history(problem: SimulatorProblem, trials: int, seed: int) -> Trials:
    """Make up what a long campaign may have tried."""
    rng = np.random.default_rng([seed, trials])
    simplex = problem.space.mixtures
    some = simplex.spread(500, rng)
    best = some[int(np.argmax([problem.truth(mixture) for mixture in some]))]
    sizes = rng.choice(len(problem.space.fidelities), size=trials, p=SHARES)
    anywhere = simplex.spread(trials, rng)
    step = np.exp(rng.uniform(np.log(0.01), 0, (trials, 1)))
    step[rng.random(trials) < 0.25] = 1
    history = History(problem)
    for mixture, size in zip((1 - step) * best + step * anywhere, sizes, strict=True):
        history.run(mixture, int(size), rng)
    return history.trials()


def with_room(trials: int) -> AbstractContextManager[object]:
    """Let the surrogate have so many trials, and all its draws with them."""
    stack = ExitStack()
    stack.enter_context(patch.object(subset, "LIMIT", trials))
    stack.enter_context(patch.object(fitting, "_LEAST_KEPT", fitting._KEPT))
    return stack


def measure(problem: SimulatorProblem, trials: Trials, points: list[np.ndarray]) -> list[float]:
    """Return the regret of the recommendation, and the error at each set of points."""
    policy = make_policy("admire")
    recommended = policy.recommend(problem.space, trials, 0)
    surrogate = fitting.fit(
        problem.space, subset.representative(trials), fitting.SurrogateSettings()
    )
    measures = [problem.regret(recommended.mixture) if recommended else 1.0]
    for mixtures in points:
        truth = np.array([problem.truth(mixture) for mixture in mixtures])
        error = surrogate.predict(mixtures)[0] - truth
        measures.append(float(np.sqrt((error**2).mean()) / (problem.best - problem.typical)))
    return measures


def compare(table: RunTable, trials: int, seeds: list[int]) -> np.ndarray:
    """Return the measures with much room and as it is, ``2 x seeds x 3``."""
    found = []
    for seed in seeds:
        problem = SimulatorProblem(table, "average", seed, PROJECT / SIMULATORS)
        history = make_history(problem, trials, seed)
        rng = np.random.default_rng(seed)
        truth = [problem.truth(mixture) for mixture in history.mixtures]
        top = history.mixtures[np.argsort(truth)[-10:]]
        near = candidates(problem.space.mixtures, top, POINTS, rng)[10 : 10 + POINTS]
        points = [problem.space.mixtures.spread(POINTS, rng), near]
        with with_room(ROOM):
            much = measure(problem, history, points)
        found.append([much, measure(problem, history, points)])
    return np.array(found).swapaxes(0, 1)


def main() -> None:
    """Compare on each problem and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="1000,5000")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--problems", default=",".join(TABLES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"room for {ROOM} trials | for {subset.LIMIT}, as it is")  # noqa: T201
    for number in map(int, arguments.trials.split(",")):
        for name in arguments.problems.split(","):
            much, ours = compare(TABLES[name](), number, list(range(arguments.seeds)))
            lost = (ours - much)[:, 0]
            error = lost.std(ddof=1) / len(lost) ** 0.5 if len(lost) > 1 else np.nan
            (regret, anywhere, near), (regret_, anywhere_, near_) = much.mean(0), ours.mean(0)
            print(  # noqa: T201
                f"{number:5d} trials, {name:9s} regret {regret:.3f} | {regret_:.3f}"
                f" ({lost.mean():+.3f} ± {error:.3f})"
                f"  error anywhere {anywhere:.3f} | {anywhere_:.3f}  near {near:.3f} | {near_:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
