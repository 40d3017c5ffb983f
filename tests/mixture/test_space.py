from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admire_pipeline.mixture import MixtureSpace


def names(count: int) -> tuple[str, ...]:
    return tuple(f"domain{i}" for i in range(count))


@st.composite
def spaces(draw: st.DrawFn) -> MixtureSpace:
    """Any bounds around some mixture, so at least that one is feasible."""
    count = draw(st.integers(2, 50))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inside = rng.dirichlet(np.full(count, draw(st.sampled_from([0.1, 1.0, 10.0]))))
    if draw(st.booleans()):
        return MixtureSpace(names(count))
    tightness = draw(st.sampled_from([0.0, 0.3, 0.99, 1.0]))
    lower = inside * tightness
    upper = inside + (1 - inside) * (1 - tightness) * rng.random(count)
    return MixtureSpace(names(count), lower, np.minimum(upper, 1.0))


@given(space=spaces(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_everything_drawn_is_feasible(space: MixtureSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [space.uniform()[None], space.sample(3, rng), space.spread(3, rng)]
    for mixture in np.vstack([*drawn, space.design(4, rng)]):
        assert space.contains(mixture)
        assert abs(mixture.sum() - 1) < 1e-12


@given(space=spaces(), seed=st.integers(0, 1000), size=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=60, deadline=None)
def test_projection_is_feasible_nearest_and_idempotent(
    space: MixtureSpace, seed: int, size: float
) -> None:
    rng = np.random.default_rng(seed)
    point = size * rng.normal(size=len(space))
    projected = space.project(point)
    assert space.contains(projected)
    assert abs(projected.sum() - 1) < 1e-12
    # The projection on a convex set: no feasible mixture lies at an acute angle (round-off ~ size).
    for other in space.sample(5, rng):
        assert (point - projected) @ (other - projected) <= 1e-9 * max(1.0, size)
    np.testing.assert_allclose(space.project(projected), projected, atol=1e-12)


def test_projection_keeps_zeros_and_handles_rows() -> None:
    space = MixtureSpace(names(3))
    rows = space.project(np.array([[0.5, 0.5 + 1e-10, -1e-14], [2.0, 0.0, 0.0]]))
    assert rows[0, 2] == 0
    assert rows[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("bad", [[0.5, np.nan, 0.5], [0.5, 0.5], np.inf * np.ones(3)])
def test_projection_rejects_what_is_no_point(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="3 finite weights"):
        MixtureSpace(names(3)).project(np.array(bad))


def test_uniform_respects_bounds() -> None:
    space = MixtureSpace.from_bounds(names(4), {"domain0": (0.4, 1.0), "domain1": (0.0, 0.1)})
    np.testing.assert_allclose(space.uniform(), [0.4, 0.1, 0.25, 0.25])


@pytest.mark.parametrize("bounds", [None, {"domain1": (0.0, 0.999999)}])
def test_sampling_is_uniform(bounds: dict[str, tuple[float, float]] | None) -> None:
    # A weight of a flat Dirichlet over 3 has P(w > t) = (1 - t)^2, with and without the sampler
    # for upper bounds (the bound cuts next to nothing). 4,000 draws: standard error below 0.008.
    space = MixtureSpace.from_bounds(names(3), bounds)
    drawn = space.sample(4000, np.random.default_rng(0))
    for threshold in (0.1, 0.3, 0.6):
        shares = (drawn > threshold).mean(axis=0)
        np.testing.assert_allclose(shares, (1 - threshold) ** 2, atol=0.03)


def test_sampling_below_an_upper_bound_is_uniform() -> None:
    # On w0 <= 0.5 the density of w0 is proportional to 1 - w0, whose mean there is 2/9.
    space = MixtureSpace.from_bounds(names(3), {"domain0": (0.0, 0.5)})
    drawn = space.sample(4000, np.random.default_rng(0))
    assert drawn[:, 0].mean() == pytest.approx(2 / 9, abs=0.01)
    assert drawn[:, 0].max() <= 0.5 + 1e-12


def test_design_starts_uniform_extends_itself_and_spreads() -> None:
    space = MixtureSpace(names(5))
    design = space.design(8, np.random.default_rng(3))
    np.testing.assert_array_equal(design[0], space.uniform())
    np.testing.assert_array_equal(design[:5], space.design(5, np.random.default_rng(3)))
    roots = np.sqrt(design)
    gaps = np.linalg.norm(roots[:, None] - roots, axis=-1) + 9 * np.eye(8)
    random = np.sqrt(space.sample(8, np.random.default_rng(3)))
    random_gaps = np.linalg.norm(random[:, None] - random, axis=-1) + 9 * np.eye(8)
    assert gaps.min() > 1.5 * random_gaps.min()
    assert design.max() > 0.6
    assert design.max() < 0.999


def test_a_single_feasible_mixture() -> None:
    only = np.array([0.3, 0.3, 0.4])
    space = MixtureSpace(names(3), only, only)
    rng = np.random.default_rng(0)
    for drawn in (space.sample(3, rng), space.spread(3, rng), space.design(3, rng)):
        np.testing.assert_allclose(drawn, np.tile(only, (3, 1)), atol=1e-12)


def test_contains_has_a_tolerance() -> None:
    space = MixtureSpace.from_bounds(names(2), {"domain0": (0.2, 0.6)})
    assert space.contains(np.array([0.6, 0.4]))
    assert not space.contains(np.array([0.6 + 1e-6, 0.4 - 1e-6]))
    assert space.contains(np.array([0.6 + 1e-6, 0.4 - 1e-6]), tolerance=1e-5)
    assert not space.contains(np.array([0.5, 0.4]))
    assert not space.contains(np.array([1.0]))


@pytest.mark.parametrize(
    ("domains", "bounds", "message"),
    [
        (["a"], None, "at least 2"),
        (["a", "b", "a"], None, "'a' is named twice"),
        (["web", "code"], {"cod": (0, 1)}, "did you mean 'code'"),
        (["a", "b"], {"a": (0.6, 0.5)}, r"bounds.a: \[0.6, 0.5\]"),
        (["a", "b"], {"a": (0.0, 1.5)}, "0 <= lower <= upper <= 1"),
        (["a", "b"], {"a": (np.nan, 1.0)}, "bounds.a"),
        (["a", "b"], {"a": (0.6, 1), "b": (0.6, 1)}, "lower bounds sum to 1.2"),
        (["a", "b"], {"a": (0, 0.3), "b": (0, 0.3)}, "upper bounds sum to 0.6"),
    ],
)
def test_bad_spaces_say_what_is_wrong(
    domains: list[str], bounds: dict[str, tuple[float, float]] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MixtureSpace.from_bounds(domains, bounds)


def test_bounds_must_have_a_value_per_domain() -> None:
    with pytest.raises(ValueError, match=r"must be \(2,\)"):
        MixtureSpace(("a", "b"), np.zeros(3), np.ones(2))
