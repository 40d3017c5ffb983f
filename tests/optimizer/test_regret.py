"""Whole campaigns by a mixing law: does the default policy earn its keep?"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from admire_pipeline.replay.campaign import replay
from admire_pipeline.replay.measures import Curve
from admire_pipeline.replay.mixing_law import MixingLawProblem
from admire_pipeline.replay.policies import make

BUDGET = 6.0
SEEDS = range(8)


@cache
def regrets(name: str, misleading: bool) -> np.ndarray:
    """Mean regrets on the way, one a seed."""
    found = []
    for seed in SEEDS:
        problem = MixingLawProblem(seed, misleading=misleading)
        steps = replay(problem, make(name, None, problem.space.fidelities), BUDGET, seed)
        costs = np.array([step.cost for step in steps])
        found.append(Curve(costs, np.array([step.honest for step in steps])).area(BUDGET))
    return np.array(found)


@pytest.mark.slow
def test_a_cheap_size_that_informs_beats_random_search() -> None:
    assert regrets("admire", False).mean() < 0.7 * regrets("random", False).mean()
