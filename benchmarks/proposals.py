"""Seconds a proposal takes, ours beside the published policy's, at the same history.

    python benchmarks/proposals.py [--table tulu] [--trials 160] [--policies admire,admire-mfbo]

One thread, the median of 3 proposals. The history is of random trials, as many at each fidelity.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from admire_pipeline.replay import policies
from admire_pipeline.replay.problem import PoolProblem
from admire_pipeline.replay.published import DOWNLOADS, READERS
from admire_pipeline.replay.speed import random_history, time_proposals

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Time the proposals and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="tulu", choices=sorted(READERS))
    parser.add_argument("--trials", type=int, default=160)
    parser.add_argument("--policies", default="admire,admire-mfbo,admire-bo")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = READERS[arguments.table](PROJECT / DOWNLOADS)
    problem = PoolProblem(table, "average")
    history = random_history(problem, arguments.trials, seed=0)
    names = policies.expand(arguments.policies.split(","), problem.space.fidelities)
    made = {name: policies.make(name, None, problem.space.fidelities) for name in names}
    seconds = time_proposals(problem, made, history)
    first = seconds[names[0]]
    print(f"{table.name} pool, {len(history)} trials, seconds a proposal (one thread)")  # noqa: T201
    for name, value in seconds.items():
        print(f"{name:16s} {value:8.3f} s  {value / first:6.1f} x {names[0]}")  # noqa: T201


if __name__ == "__main__":
    main()
