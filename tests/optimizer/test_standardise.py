from __future__ import annotations

import numpy as np
import pytest

from admire_pipeline.optimizer.standardise import standardise
from tests.optimizer.tables import make_space


def test_levels_are_the_means_and_the_nearest_ones_where_there_is_none() -> None:
    groups = np.array([0, 0, 2, 2, 2, 2])
    inputs = np.random.default_rng(0).normal(size=(6, 3))
    location, _ = standardise(inputs, np.array([1.0, 3.0, 100, 102, 104, 98]), groups, 4)
    # Group 1 lies as near to 0 as to 2 and takes the first; group 3 is next to 2.
    assert location.tolist() == [2, 2, 101, 101]


def test_the_spread_is_that_over_the_whole_space() -> None:
    # One straight line, tried all over the simplex at size 0 and close by at size 1.
    space = make_space(5)
    rng = np.random.default_rng(0)
    roots = np.sqrt(space.mixtures.sample(400, rng))
    roots -= roots.mean(axis=0)
    roots /= np.sqrt((roots**2).sum(axis=1).mean())
    roots[200:] = roots[200] + 0.1 * (roots[200:] - roots[200])
    groups = np.repeat([0, 1], 200)
    values = roots @ rng.normal(size=5)
    _, scale = standardise(roots, values, groups, 3)
    spread = values[:200].std()
    # The prior weight of one mixture and 200 draws leave about 20 %.
    np.testing.assert_allclose(scale, spread, rtol=0.35)
    assert values[200:].std() < 0.15 * spread


def test_the_formula() -> None:
    inputs = np.array([[0.0], [1.0], [0.0], [2.0]])
    values = np.array([0.0, 3.0, 1.0, 1.5])
    _, scale = standardise(inputs, values, np.array([0, 0, 1, 1]), 2)
    # Sums of squares of the values 4.5 and 0.125, of the inputs 0.5 and 2.
    pooled = 4.625 / 2.5
    np.testing.assert_allclose(scale**2, [(4.5 + pooled) / 1.5, (0.125 + pooled) / 3.0], rtol=1e-12)


@pytest.mark.parametrize("level", [0.0, -3.0, 1e6, 1e-6])
def test_equal_values(level: float) -> None:
    _, scale = standardise(np.eye(4), np.full(4, level), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_array_less(0, scale)
    np.testing.assert_array_less(scale, 1.001 * (abs(level) or 1.0))


def test_one_mixture_many_times_and_one_value_alone() -> None:
    _, scale = standardise(np.zeros((3, 2)), np.array([1.0, 1.1, 0.9]), np.zeros(3, int), 1)
    assert 0.01 < scale[0] < 10
    location, scale = standardise(np.ones((1, 2)), np.array([-3.0]), np.array([1]), 3)
    assert location.tolist() == [-3, -3, -3]
    assert (scale > 1).all()


@pytest.mark.parametrize(("factor", "shift"), [(1e6, 0.0), (1e-6, 0.0), (1.0, 50.0), (2.0, -7.0)])
def test_units_carry_over(factor: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    inputs, values, groups = rng.normal(size=(9, 4)), rng.normal(size=9), rng.integers(0, 2, 9)
    location, scale = standardise(inputs, values, groups, 2)
    moved, stretched = standardise(inputs, factor * values + shift, groups, 2)
    np.testing.assert_allclose(moved, factor * location + shift, rtol=1e-9)
    np.testing.assert_allclose(stretched, factor * scale, rtol=1e-9)


def test_without_distances_the_spread_is_the_variance_shrunk_to_that_of_all() -> None:
    values = np.array([1.0, 3.0, 10.0, 10.5, 11.0])
    groups = np.array([0, 0, 1, 1, 1])
    crowded = 1e-3 * np.eye(5)
    _, scale = standardise(crowded, values, groups, 2, by_distance=False)
    pooled = (2.0 + 0.5) / 3
    np.testing.assert_allclose(scale**2, [(2.0 + pooled) / 2, (0.5 + pooled) / 3], rtol=1e-12)
    _, stretched = standardise(crowded, values, groups, 2)
    assert (stretched > scale).all(), "by distance, crowded trials do not make a fidelity look flat"
