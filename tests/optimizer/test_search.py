from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition import AcquisitionFunction
from hypothesis import given, settings
from hypothesis import strategies as st

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer.search import candidates, maximise, rank


class Peak(AcquisitionFunction):
    """Closeness to a point, in or out of the simplex."""

    def __init__(self, point: np.ndarray) -> None:
        super().__init__(model=None)
        self.point = torch.from_numpy(point)

    def forward(self, X: torch.Tensor) -> torch.Tensor:  # noqa: N803
        return -((X - self.point) ** 2).sum(dim=(-1, -2))


@given(domains=st.integers(2, 12), seed=st.integers(0, 1000), together=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_maximum_is_the_projection(domains: int, seed: int, together: bool) -> None:
    rng = np.random.default_rng(seed)
    upper = np.minimum(1.0, 2 / domains + rng.random(domains))
    space = MixtureSpace(tuple(map(str, range(domains))), np.full(domains, 0.2 / domains), upper)
    point = rng.normal(size=domains)
    starts = candidates(space, np.empty((0, domains)), 20, rng)
    found = maximise(Peak(point), space, starts, together=together)
    assert space.contains(found.mixtures[0])
    # SLSQP stops at changes of about 1e-6 in the value, 1e-3 in the mixture.
    np.testing.assert_allclose(found.mixtures[0], space.project(point), atol=5e-3)
    assert np.all(np.diff(found.values) <= 0)


def test_rank_orders_a_finite_set() -> None:
    mixtures = np.array([[0.0, 1.0], [0.5, 0.5], [0.4, 0.6], [0.5, 0.5]])
    ranking = rank(Peak(np.array([0.5, 0.5])), mixtures)
    np.testing.assert_array_equal(ranking.mixtures, mixtures[[1, 3, 2, 0]])
    assert ranking.values[0] == 0


def test_a_failed_climb_leaves_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Peak):
        def forward(self, X: torch.Tensor) -> torch.Tensor:  # noqa: N803
            return super().forward(X) * (torch.nan if X.requires_grad else 1.0)

    space = MixtureSpace(("a", "b"))
    points = space.sample(10, np.random.default_rng(0))
    found = maximise(Broken(np.array([0.5, 0.5])), space, points)
    np.testing.assert_array_equal(found.mixtures, rank(Peak(np.array([0.5, 0.5])), points).mixtures)


def test_candidates_are_feasible_and_look_closer_at_some() -> None:
    space = MixtureSpace.from_bounds(tuple("abcd"), {"a": (0.1, 0.4)})
    around = space.sample(2, np.random.default_rng(1))
    points = candidates(space, around, 50, np.random.default_rng(2))
    assert all(space.contains(point) for point in points)
    np.testing.assert_allclose(points[:2], around, atol=1e-12)
    near = np.abs(points[:, None] - around).max(axis=2).min(axis=1)
    assert (near < 0.05).sum() > 20
