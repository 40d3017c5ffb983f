from __future__ import annotations

import numpy as np
import pytest

from admire_pipeline.optimizer.standardise import standardise


def test_levels_are_the_means_and_the_nearest_ones_where_there_is_none() -> None:
    groups = np.array([0, 0, 2, 2, 2, 2])
    location, _ = standardise(np.array([1.0, 3.0, 100, 102, 104, 98]), groups, 4)
    # Group 1 lies as near to 0 as to 2 and takes the first; group 3 is next to 2.
    assert location.tolist() == [2, 2, 101, 101]


def test_each_variance_is_shrunk_to_that_of_all() -> None:
    values = np.array([1.0, 3.0, 10.0, 10.5, 11.0])
    _, scale = standardise(values, np.array([0, 0, 1, 1, 1]), 3)
    pooled = (2.0 + 0.5) / 3
    expected = [(2.0 + pooled) / 2, (0.5 + pooled) / 3, pooled]
    np.testing.assert_allclose(scale**2, expected, rtol=1e-12)


def test_with_many_values_the_scale_is_their_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(5, 0.1, 400), rng.normal(-3, 10, 400)])
    _, scale = standardise(values, np.repeat([0, 1], 400), 2)
    assert scale[1] == pytest.approx(values[400:].std(), rel=0.01)
    # What one value of the other group's spread adds.
    assert values[:400].std() < scale[0] < 0.5


@pytest.mark.parametrize("level", [0.0, -3.0, 1e6, 1e-6])
def test_equal_values(level: float) -> None:
    _, scale = standardise(np.full(4, level), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_array_less(0, scale)
    np.testing.assert_array_less(scale, 1.001 * (abs(level) or 1.0))


def test_one_value_alone() -> None:
    location, scale = standardise(np.array([-3.0]), np.array([1]), 3)
    assert location.tolist() == [-3, -3, -3]
    assert scale.tolist() == [3, 3, 3]


def test_a_value_alone_in_its_group_has_the_scale_of_the_others() -> None:
    values = np.array([1.0, 3.0, 2.0, 7.0])
    _, scale = standardise(values, np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(scale, [1.0, 1.0], rtol=1e-12)
    _, scale = standardise(np.array([0.5, 0.7, 100.0]), np.arange(3), 3)
    np.testing.assert_allclose(scale, 100.0, rtol=1e-12)


@pytest.mark.parametrize(("factor", "shift"), [(1e6, 0.0), (1e-6, 0.0), (1.0, 50.0), (2.0, -7.0)])
def test_units_carry_over(factor: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=9), rng.integers(0, 2, 9)
    location, scale = standardise(values, groups, 2)
    moved, stretched = standardise(factor * values + shift, groups, 2)
    np.testing.assert_allclose(moved, factor * location + shift, rtol=1e-9)
    np.testing.assert_allclose(stretched, factor * scale, rtol=1e-9)
