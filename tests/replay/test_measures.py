"""Step curves: the value at a cost, areas, costs to reach, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admire_pipeline.replay.measures import Curve, bootstrap_interval, mean_curve


def curve(costs: list[float], values: list[float]) -> Curve:
    return Curve(np.array(costs), np.array(values))


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    steps = draw(st.lists(st.floats(0.001, 2), max_size=8))
    values = draw(st.lists(st.floats(-1, 2), min_size=len(steps) + 1, max_size=len(steps) + 1))
    return Curve(np.concatenate([[0.0], np.cumsum(steps)]), np.array(values))


def test_a_value_holds_from_its_cost_to_the_next_step() -> None:
    steps = curve([0, 1, 3], [1.0, 0.5, 0.2])
    np.testing.assert_array_equal(
        steps.at(np.array([0, 0.99, 1, 2.9, 3, 9])), [1, 1, 0.5, 0.5, 0.2, 0.2]
    )


def test_round_off_of_summed_costs_does_not_delay_a_step() -> None:
    assert curve([0, 0.1, 0.1 + 0.2], [1, 0.5, 0.2]).at(0.3) == 0.2


def test_area_is_the_mean_value_up_to_a_cost() -> None:
    steps = curve([0, 1, 3], [1.0, 0.5, 0.2])
    assert steps.area(1) == pytest.approx(1.0)
    assert steps.area(2) == pytest.approx((1 + 0.5) / 2)
    assert steps.area(4) == pytest.approx((1 + 2 * 0.5 + 0.2) / 4)


def test_reaching_a_level_means_to_stay_there() -> None:
    steps = curve([0, 1, 2, 3], [1.0, 0.1, 0.6, 0.2])
    assert steps.reach(0.5) == 3
    assert steps.reach(0.2) == 3
    assert steps.reach(0.1) == float("inf")
    assert steps.reach(1.0) == 0


@given(curves(), st.floats(0.01, 10))
def test_area_equals_a_fine_sum(steps: Curve, until: float) -> None:
    grid = (np.arange(20000) + 0.5) / 20000 * until
    # Each step may be off by one cell of the grid, times the height of the step.
    bound = len(steps.costs) * 3 / 20000 + 1e-6
    assert steps.area(until) == pytest.approx(float(steps.at(grid).mean()), abs=bound)


@given(curves(), st.floats(-1, 2))
def test_a_reached_level_holds_and_did_not_hold_just_before(steps: Curve, level: float) -> None:
    cost = steps.reach(level)
    if np.isinf(cost):
        assert steps.values[-1] > level
        return
    assert np.all(steps.values[steps.costs >= cost] <= level + 1e-6)
    before = steps.values[steps.costs < cost]
    assert not len(before) or before[-1] > level


@given(st.lists(curves(), min_size=1, max_size=4), st.floats(0.01, 10))
def test_the_mean_curve_is_the_mean_everywhere(several: list[Curve], until: float) -> None:
    mean = mean_curve(several)
    grid = np.linspace(0, until, 50)
    np.testing.assert_allclose(mean.at(grid), np.mean([c.at(grid) for c in several], axis=0))
    assert mean.area(until) == pytest.approx(np.mean([c.area(until) for c in several]), abs=1e-9)


@pytest.mark.parametrize(
    ("costs", "values"), [([1.0], [1.0]), ([0, 2, 1], [1, 1, 1]), ([], []), ([0], [1, 2])]
)
def test_what_is_no_curve_is_refused(costs: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError, match="^curve: "):
        curve(costs, values)


def test_the_interval_holds_the_mean_and_is_always_the_same() -> None:
    values = np.random.default_rng(1).normal(0.3, 0.1, 10)
    interval = bootstrap_interval(values)
    assert interval.low < interval.mean < interval.high
    assert interval.mean == pytest.approx(values.mean())
    assert interval == bootstrap_interval(values)
    # About the normal interval: 2 x 1.96 standard errors wide.
    assert interval.high - interval.low == pytest.approx(3.92 * values.std() / 10**0.5, rel=0.15)


@pytest.mark.parametrize("values", [[0.4], [0.3, 0.5]])
def test_one_or_two_seeds_have_no_interval(values: list[float]) -> None:
    interval = bootstrap_interval(np.array(values))
    assert interval.mean == pytest.approx(0.4)
    assert np.isnan([interval.low, interval.high]).all()
