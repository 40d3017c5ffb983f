"""Proposals timed at one history."""

from __future__ import annotations

import numpy as np

from admire_pipeline.replay import policies
from admire_pipeline.replay.problem import PoolProblem
from admire_pipeline.replay.speed import random_history, time_proposals
from admire_pipeline.replay.synthetic import made_up_table


def test_every_policy_is_timed_at_the_same_random_history() -> None:
    problem = PoolProblem(made_up_table("transfer", runs=(30, 20, 12)), "average")
    history = random_history(problem, 40, 0)
    assert np.bincount(history.fidelities).tolist() == [14, 14, 12]
    assert len({mixture.tobytes() for mixture in history.mixtures}) == 40
    assert np.isfinite(history.scores).all()
    other = random_history(problem, 40, 1)
    assert not np.array_equal(other.mixtures, history.mixtures)
    # The target's pool is used up after 36 trials: 24 leave some for `random` to propose.
    short = random_history(problem, 24, 0)
    made = {
        name: policies.make(name, None, problem.space.fidelities) for name in ("random", "regmix")
    }
    seconds = time_proposals(problem, made, short)
    assert set(seconds) == {"random", "regmix"}
    assert all(0 < value < 1 for value in seconds.values())
