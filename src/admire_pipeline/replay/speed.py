"""Seconds a proposal takes, for several policies at the same history."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from admire_pipeline.optimizer import Policy, Trials
from admire_pipeline.replay.campaign import History
from admire_pipeline.replay.problem import Problem


def random_history(problem: Problem, trials: int, seed: int) -> Trials:
    """Run random trials at all fidelities alike.

    Args:
        problem: Where; a pool has to hold enough of them.
        trials: How many.
        seed: Another one makes another history.

    Returns:
        The trials, all observed.
    """
    rng = np.random.default_rng(seed)
    space = problem.space
    history = History(problem)
    orders = [list(rng.permutation(len(pool))) for pool in space.pools]
    for number in range(trials):
        if space.pools:
            left = [position for position, order in enumerate(orders) if order]
            fidelity = left[number % len(left)]
            mixture = space.pools[fidelity][orders[fidelity].pop()]
        else:
            fidelity = number % len(space.fidelities)
            mixture = space.mixtures.spread(1, rng)[0]
        history.run(mixture, fidelity, rng)
    return history.trials()


def time_proposals(
    problem: Problem, policies: Mapping[str, Policy], trials: Trials, repeats: int = 3
) -> dict[str, float]:
    """Time the next proposal of each policy, by turns.

    Args:
        problem: What is searched.
        policies: By name.
        trials: The history.
        repeats: Proposals of each policy, with another seed each.

    Returns:
        Median seconds by name, after one proposal that warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in policies}
    for policy in policies.values():
        policy.propose(problem.space, trials, 0)
    for seed in range(1, repeats + 1):
        for name, policy in policies.items():
            began = time.perf_counter()
            policy.propose(problem.space, trials, seed)
            seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(each)) for name, each in seconds.items()}
