"""Seconds that our policy takes on the continuous simplex, as a campaign grows.

    python benchmarks/optimizer.py [--policy admire] [--threads 2] [--cases 300x19x17,...]

A case is trials x domains x metrics, at three fidelities; a fourth number is the percentage of
metrics that trials lack, at random. Trials are those of a made-up table, at the smallest fidelity
most of all. Draws of the hyperparameters that the trials rule out cost no time, so `most draws`
gives the seconds where as many as are ever kept are, as with noisy trials.
CPU seconds are printed for machines that have other work to do, and in the end what a long campaign
takes beyond a short one.
"""

from __future__ import annotations

import argparse
import time
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Space, Trials, fitting, make_policy
from admire_pipeline.replay.synthetic import made_up_table

SHORT, LONG = "30x20x7", "5000x20x7"
CASES = f"30x19x17,100x19x17,300x19x17,300x19x17x10,1000x19x17,300x50x17,{SHORT},{LONG}"
AIMS = {"300x19x17": 5.0, "300x19x17x10": 5.0, "1000x19x17": 30.0}
MORE = 2.5  # seconds that a proposal and a recommendation may take beyond those of a short campaign


def make_case(trials: int, domains: int, metrics: int, lacking: int = 0) -> tuple[Space, Trials]:
    """Make a campaign up whose sizes inform: 60, 30 and 10 % of the trials at each."""
    runs = [trials * 6 // 10, trials * 3 // 10]
    table = made_up_table(
        "transfer", domains=domains, metrics=metrics, runs=[*runs, trials - sum(runs)]
    )
    objective = {name: 1 / metrics for name in table.metrics}
    space = Space(MixtureSpace(table.domains), table.fidelities, (), objective)
    outcome = table.frame[[f"metric.{name}" for name in table.metrics]].mean(axis=1)
    frame = pd.concat([table.frame, outcome.rename("score")], axis=1).assign(
        trial=[f"trial-{number}" for number in range(trials)], status="observed"
    )
    names = [f"metric.{name}" for name in table.metrics]
    gaps = np.random.default_rng(0).random((trials, metrics)) < lacking / 100
    frame[names] = frame[names].mask(gaps)
    return space, Trials.from_frame(space, frame)


def seconds(policy_name: str, space: Space, trials: Trials) -> tuple[float, float, float]:
    """Return the seconds of a proposal, of a recommendation, and the CPU seconds of both."""
    policy = make_policy(policy_name)
    processor, began = time.process_time(), time.perf_counter()
    policy.propose(space, trials, 0)
    between = time.perf_counter()
    policy.recommend(space, trials, 0)
    return between - began, time.perf_counter() - between, time.process_time() - processor


def main() -> None:
    """Time the cases and print them beside the aims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="admire")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cases", default=CASES, help="trials x domains x metrics (x percentage lacking), ..."
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seconds(arguments.policy, *make_case(30, 4, 2))
    print(f"{arguments.policy}, {arguments.threads} threads")  # noqa: T201
    both = {}
    for name in arguments.cases.split(","):
        space, trials = make_case(*map(int, name.split("x")))
        proposal, recommendation, processor = seconds(arguments.policy, space, trials)
        both[name] = proposal + recommendation, processor
        with patch.object(fitting, "_LEAST_PROBABILITY", 0.0):
            worst, _, _ = seconds(arguments.policy, space, trials)
        aim = f"  aim {AIMS[name]:.0f} s" if name in AIMS else ""
        print(  # noqa: T201
            f"{name:>12s}  propose {proposal:6.2f} s (most draws {worst:6.2f} s)"
            f"  recommend {recommendation:5.2f} s  CPU {processor:6.2f} s{aim}"
        )
    if {SHORT, LONG} <= both.keys():
        more, processor = (
            after - before for before, after in zip(both[SHORT], both[LONG], strict=True)
        )
        print(  # noqa: T201
            f"{LONG} takes {more:.2f} s more than {SHORT} (CPU {processor:.2f} s)  aim {MORE} s"
        )


if __name__ == "__main__":
    main()
