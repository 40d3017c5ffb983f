"""The published multi-fidelity policy against the regret of the official code.

The official figures (DESIGN, section 5) are means of 4 seeds on the Tulu table's average. Seeds
there and here draw different starts and maxima, so only the means can be compared: between seeds
the regret at one cost has a standard deviation of about 0.0017 (recommendations jump between a few
rows of the pool), which leaves 0.0012 for the difference of two means of 4. Three of these are
allowed at each cost, and two for the mean over the costs.

That tells the policy from one that recommends at random, as the last test checks, but not from
search at random: the official figures are no better than that. What tells it from everything else
is that its choices are those of a transcription of the recipe (tests/optimizer/test_published.py).
On the Pile the official figures are of one seed, between which its regret differs by all there is.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from admire_pipeline.optimizer import make_policy
from admire_pipeline.replay import read_tulu
from admire_pipeline.replay.campaign import replay
from admire_pipeline.replay.problem import PoolProblem

OFFICIAL = {1.0: 0.0054, 2.0: 0.0056, 5.0: 0.0042, 10.0: 0.0014}
SEEDS = range(4)
ERROR = 0.0012


needs_tables = pytest.mark.skipif(
    "ADMIRE_RUNS_DIR" not in os.environ, reason="needs the published tables: set ADMIRE_RUNS_DIR"
)


def agrees(regrets: np.ndarray) -> bool:
    """Whether mean regrets at the costs of ``OFFICIAL`` may be those of the official code."""
    difference = regrets - list(OFFICIAL.values())
    return bool(np.abs(difference).max() < 3 * ERROR and abs(difference.mean()) < 2 * ERROR)


@pytest.mark.slow
@needs_tables
def test_multifidelity_search_has_the_regret_of_the_official_code() -> None:
    problem = PoolProblem(read_tulu(), "average")
    unit = problem.best - problem.typical
    regrets = []
    for seed in SEEDS:
        steps = replay(problem, make_policy("admire-mfbo"), max(OFFICIAL), seed)
        costs = np.array([step.cost for step in steps])
        at = [int(np.searchsorted(costs, cost, side="right")) - 1 for cost in OFFICIAL]
        regrets.append([unit * steps[index].honest for index in at])
    assert agrees(np.mean(regrets, axis=0))


@needs_tables
def test_a_random_pick_has_not() -> None:
    problem = PoolProblem(read_tulu(), "average")
    assert not agrees(np.full(len(OFFICIAL), problem.best - problem.typical))
