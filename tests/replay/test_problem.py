"""Pool problems: a table's runs as a space, scores and regrets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.replay.problem import PoolProblem
from admire_pipeline.replay.synthetic import made_up_table
from admire_pipeline.replay.table import RunTable

RUNS = pd.DataFrame(
    [
        ("small", 1.0, "pool", 0.25, 0.75, 1.0, 4.0),
        ("small", 1.0, "pool", 0.25, 0.75, 3.0, 6.0),
        ("small", 1.0, "pool", 0.5, 0.5, 5.0, np.nan),
        ("large", 4.0, "pool", 0.25, 0.75, 2.0, 8.0),
        ("large", 4.0, "pool", 1.0, 0.0, 4.0, 2.0),
        ("large", 4.0, "held_out", 0.0, 1.0, 0.0, 0.0),
    ],
    columns=["fidelity", "cost", "split", "mixture.a", "mixture.b", "metric.x", "metric.y"],
)


def table(direction: str = "maximize") -> RunTable:
    return RunTable.from_frame("runs", RUNS, direction)


def test_the_space_has_the_pools_costs_and_weights() -> None:
    problem = PoolProblem(table(), "average")
    space = problem.space
    assert [(f.name, f.cost) for f in space.fidelities] == [("small", 0.25), ("large", 1.0)]
    assert dict(space.objective) == {"x": 0.5, "y": 0.5}
    np.testing.assert_array_equal(space.pools[1], [[0.25, 0.75], [1, 0]])


def test_runs_of_one_mixture_are_averaged() -> None:
    problem = PoolProblem(table(), "average")
    # The third run lacks y, so it has no score.
    np.testing.assert_array_equal(problem.space.pools[0], [[0.25, 0.75]])
    run = problem.evaluate(np.array([0.25, 0.75]), 0)
    assert run.score == pytest.approx(3.5)
    np.testing.assert_allclose(run.metrics, [2, 5])


def test_standard_errors_are_those_of_the_mean() -> None:
    errors = {"metric_se.x": [0.3, 0.4, np.nan, 0.2, 0.1, np.nan]}
    known = RunTable.from_frame("runs", RUNS.assign(**errors), "maximize")
    evaluate = PoolProblem(known, "average").evaluate
    # Of y none is known.
    np.testing.assert_allclose(evaluate(np.array([0.25, 0.75]), 0).errors, [0.25, np.nan])
    np.testing.assert_allclose(evaluate(np.array([1.0, 0.0]), 1).errors, [0.1, np.nan])


def test_a_run_that_lacks_another_metric_counts() -> None:
    np.testing.assert_array_equal(
        PoolProblem(table(), "x").space.pools[0], [[0.25, 0.75], [0.5, 0.5]]
    )


def test_regret_is_zero_at_the_best_of_the_pool_and_one_on_average() -> None:
    problem = PoolProblem(table(), "average")
    assert problem.truth(np.array([0.25, 0.75])) == 5
    assert problem.regret(np.array([0.25, 0.75])) == 0
    assert problem.regret(np.array([1.0, 0.0])) == 2
    assert np.mean([problem.regret(mixture) for mixture in problem.space.pools[-1]]) == 1


def test_losses_are_minimised() -> None:
    problem = PoolProblem(table("minimize"), "average")
    assert problem.evaluate(np.array([0.25, 0.75]), 1).score == -5
    assert problem.regret(np.array([1.0, 0.0])) == 0


def test_a_fidelity_without_the_metrics_is_left_out() -> None:
    runs = RUNS.assign(**{"metric.y": RUNS["metric.y"].where(RUNS["fidelity"] == "large")})
    problem = PoolProblem(RunTable.from_frame("runs", runs, "maximize"), "average")
    assert [fidelity.name for fidelity in problem.space.fidelities] == ["large"]
    assert problem.truth(np.array([0.25, 0.75])) == 5


@pytest.mark.parametrize("mixture", [[0.0, 1.0], [0.3, 0.7]])
def test_what_is_not_in_the_pool_cannot_be_had(mixture: list[float]) -> None:
    with pytest.raises(ValueError, match="no run of the pool of 'large'"):
        PoolProblem(table(), "x").truth(np.array(mixture))


def test_an_unknown_objective_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UserError, match="'averge'.*did you mean 'average'"):
        PoolProblem(table(), "averge")


def test_all_equal_scores_leave_nothing_to_regret() -> None:
    runs = RUNS.assign(**{"metric.x": 1.0})
    problem = PoolProblem(RunTable.from_frame("runs", runs, "maximize"), "x")
    assert problem.regret(np.array([1.0, 0.0])) == 0


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("transfer", 0.8, 1), ("noise", -0.4, 0.4), ("reversed", -1, -0.8)]
)
def test_made_up_tables_mislead_as_named(kind: str, low: float, high: float) -> None:
    # Nothing is shared between sizes but the functions: a least-squares fit carries over.
    made = made_up_table(kind, domains=4, runs=(400, 400), costs=(0.1, 1.0), metrics=2)
    small, large = (np.sqrt(made.mixtures(size)) for size in (0, 1))
    for metric in range(2):
        slopes, *_ = np.linalg.lstsq(_features(small), made.values(0)[:, metric], rcond=None)
        correlation = np.corrcoef(_features(large) @ slopes, made.values(1)[:, metric])[0, 1]
        assert low < correlation < high
    assert made.values(1).std(axis=0) == pytest.approx(1, abs=0.1)


def test_made_up_values_have_no_digits_in_which_processors_differ() -> None:
    made = made_up_table("noise", domains=4)
    for numbers in (made.mixtures(1), made.values(1)):
        np.testing.assert_array_equal(numbers, numbers.round(9))
    np.testing.assert_allclose(made.mixtures(1).sum(axis=1), 1, rtol=0, atol=1e-15)
    assert not made.notes


def _features(roots: np.ndarray) -> np.ndarray:
    pairs = [roots[:, i] * roots[:, j] for i in range(4) for j in range(i + 1)]
    return np.column_stack([np.ones(len(roots)), roots, *pairs])


@pytest.mark.parametrize("domains", [3, 50])
def test_made_up_tables_have_any_size(domains: int) -> None:
    costs = (0.001, 0.01, 0.1, 0.3, 1.0)
    made = made_up_table("transfer", domains=domains, costs=costs, runs=(20,) * 5, metrics=1)
    assert [fidelity.cost for fidelity in made.fidelities] == pytest.approx(costs)
    assert len(made.domains) == domains


def test_an_unknown_kind_of_table_is_one_line() -> None:
    with pytest.raises(UserError, match="'reverse'.*did you mean 'reversed'"):
        made_up_table("reverse")
