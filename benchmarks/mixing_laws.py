"""What policies make of small sizes that tell and that mislead, where corners are bad.

    python benchmarks/mixing_laws.py [--policies admire,admire-bold,...] [--seeds 12] [--budget 6]

Problems over the simplex by a data mixing law (`replay/mixing_law.py`), of five domains and three
sizes that cost 0.1, 0.35 and 1. Printed is the mean honest regret on the way to each cost, 0 the
best mixture and 1 a random one, and that of `admire` taken off it with its standard error.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np

from admire_pipeline.replay.campaign import replay
from admire_pipeline.replay.measures import Curve
from admire_pipeline.replay.mixing_law import MixingLawProblem
from admire_pipeline.replay.policies import make

POLICIES = "admire,admire-bold,admire-target,admire-bo,random"


def run(job: tuple[str, bool, int, float]) -> list[float]:
    """Run a campaign; return its mean regret to a third, two thirds and the whole of the budget."""
    name, misleading, seed, budget = job
    problem = MixingLawProblem(seed, misleading=misleading)
    steps = replay(problem, make(name, None, problem.space.fidelities), budget, seed)
    curve = Curve.of(steps)
    return [curve.area(budget * part / 3) for part in (1, 2, 3)]


def main() -> None:
    """Run all campaigns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", default=POLICIES, help="the first is the one to compare with")
    parser.add_argument("--seeds", type=int, default=12, help="how many, from 0")
    parser.add_argument("--budget", type=float, default=6.0, help="in trainings of the target")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    policies, seeds = arguments.policies.split(","), range(arguments.seeds)
    costs = ", ".join(f"{arguments.budget * part / 3:g}" for part in (1, 2, 3))
    with ProcessPoolExecutor(arguments.processes) as pool:
        for misleading in (False, True):
            jobs = product(policies, [misleading], seeds, [arguments.budget])
            found = np.array(list(pool.map(run, jobs))).reshape(len(policies), len(seeds), -1)
            print(f"small sizes {'mislead' if misleading else 'tell'}; to a cost of {costs}")  # noqa: T201
            for name, regrets in zip(policies, found, strict=True):
                more = regrets - found[0]
                error = more.std(axis=0, ddof=1) / len(seeds) ** 0.5
                parts = zip(regrets.mean(axis=0), more.mean(axis=0), error, strict=True)
                told = "   ".join(f"{mean:.3f} ({d:+.3f} ± {e:.3f})" for mean, d, e in parts)
                print(f"  {name:16s} {told}")  # noqa: T201


if __name__ == "__main__":
    main()
