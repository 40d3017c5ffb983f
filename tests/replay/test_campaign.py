"""A replayed campaign: what it costs, when it ends, what is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from admire_pipeline.optimizer import Recommendation, Space, Trials
from admire_pipeline.replay.campaign import History, replay
from admire_pipeline.replay.problem import PoolProblem
from admire_pipeline.replay.synthetic import made_up_table
from tests.replay.policies import InTurn, Stuck


class Latest(InTurn):
    """Recommends what it tried last."""

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        return Recommendation(trials.mixtures[-1], 0.0, 0.0, None) if len(trials) else None


@pytest.fixture(scope="module")
def problem() -> PoolProblem:
    return PoolProblem(made_up_table("transfer", runs=(30, 20, 12)), "average")


def test_steps_cost_what_their_fidelity_costs(problem: PoolProblem) -> None:
    steps = replay(problem, InTurn(1), 1.0, 0)
    assert [step.cost for step in steps] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [step.step for step in steps] == list(range(6))
    assert [step.fidelity for step in steps] == ["", *["size-2"] * 5]


def test_the_first_proposal_beyond_the_budget_ends_it(problem: PoolProblem) -> None:
    assert [step.cost for step in replay(problem, InTurn(), 3.9, 0)] == [0, 1, 2, 3]


def test_a_policy_that_is_done_ends_it(problem: PoolProblem) -> None:
    assert len(replay(problem, InTurn(limit=2), 100, 0)) == 3
    assert len(replay(problem, InTurn(), 100, 0)) == 13


def test_a_most_number_of_trials_ends_it(problem: PoolProblem) -> None:
    assert len(replay(problem, InTurn(), 100, 0, max_trials=4)) == 5


class Counting(Latest):
    """Counts how often it was asked."""

    asked: int = 0

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        self.asked += 1
        best = space.pools[-1][len(trials) % len(space.pools[-1])]
        return Recommendation(best, 0.0, 0.0, None)


def test_late_recommendations_are_asked_for_as_the_cost_grows() -> None:
    table = made_up_table("transfer", runs=(400, 20, 12), costs=(0.001, 0.1, 1.0))
    problem = PoolProblem(table, "average")
    policy = Counting(0)
    steps = replay(problem, policy, 100, 0)
    assert len(steps) == 401
    asked = [step for step in steps if step.recommend_seconds > 0]
    assert len(asked) == policy.asked < 200
    assert [step.step for step in asked[:51]] == list(range(51))
    costs = np.array([step.cost for step in asked])
    assert np.all(costs[52:-1] / costs[51:-2] < 1.04)
    # The last word is that of the last trial.
    assert asked[-1] is steps[-1]
    target = problem.space.pools[-1]
    assert steps[-1].honest == problem.regret(target[400 % 12])
    carried = {step.step: step.honest for step in steps}
    assert all(carried[s.step] == carried[s.step - 1] for s in steps if s.recommend_seconds == 0)


def test_no_recommendation_counts_as_a_random_pick(problem: PoolProblem) -> None:
    assert [step.honest for step in replay(problem, InTurn(0, limit=3), 1, 0)] == [1.0] * 4


def test_regret_is_that_of_the_best_so_far(problem: PoolProblem) -> None:
    steps = replay(problem, InTurn(), 100, 0)
    regrets = [problem.regret(mixture) for mixture in problem.space.pools[-1]]
    expected = np.minimum.accumulate(regrets)
    np.testing.assert_allclose([step.honest for step in steps], [1.0, *expected])
    np.testing.assert_allclose(
        [step.published for step in steps], np.minimum.accumulate([1.0, *expected])
    )
    assert steps[-1].honest == 0


def test_honest_regret_rises_again_and_published_does_not(problem: PoolProblem) -> None:
    steps = replay(problem, Latest(), 100, 0)
    honest = [step.honest for step in steps]
    assert honest[1:] == [problem.regret(mixture) for mixture in problem.space.pools[-1]]
    assert any(later > earlier for earlier, later in zip(honest, honest[1:], strict=False))
    assert [step.published for step in steps] == list(np.minimum.accumulate(honest))


class Nosy(InTurn):
    """Keeps the last table of trials that it was shown."""

    shown: Trials | None = None

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        self.shown = trials
        return super().recommend(space, trials, seed)


def test_the_policy_sees_every_run_with_its_metrics(problem: PoolProblem) -> None:
    policy = Nosy(limit=5)
    replay(problem, policy, 100, 0)
    assert policy.shown is not None
    pool = problem.space.pools[-1][:5]
    np.testing.assert_array_equal(policy.shown.mixtures, pool)
    runs = [problem.evaluate(mixture, 2) for mixture in pool]
    np.testing.assert_array_equal(policy.shown.metrics, [run.metrics for run in runs])
    np.testing.assert_allclose(policy.shown.scores, [run.score for run in runs])
    assert policy.shown.observed.all()


def test_the_policy_sees_standard_errors_that_are_known() -> None:
    made = made_up_table("transfer", domains=3, runs=(6, 5, 4), metrics=2)
    errors = {"metric_se.metric-1": 0.3, "metric_se.metric-2": 0.4}
    table = replace(made, frame=made.frame.assign(**errors))
    for runs, expected in ((table, 0.25), (made, np.nan)):
        problem = PoolProblem(runs, "average")
        history = History(problem)
        history.run(problem.space.pools[0][0], 0, np.random.default_rng(0))
        trials = history.trials()
        np.testing.assert_allclose(trials.score_errors, [expected])  # half of (0.3, 0.4)
        assert np.isfinite(trials.metric_errors).all() == (runs is table)


def test_a_mixture_of_a_pool_is_tried_once(problem: PoolProblem) -> None:
    with pytest.raises(ValueError, match="pool of 'size-3' twice"):
        replay(problem, Stuck(), 100, 0)
