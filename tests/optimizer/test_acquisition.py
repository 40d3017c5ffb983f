from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from admire_pipeline.optimizer import PolicySettings, Trials, bayesian, make_policy, propose
from admire_pipeline.optimizer.acquisition import (
    MaxValueEntropy,
    TargetMean,
    information_gain,
    sample_maxima,
)
from admire_pipeline.optimizer.search import maximise
from admire_pipeline.optimizer.surrogate import Surrogate, fit_coregional
from tests.optimizer.tables import hill_frame, make_space


def gain(gap: float, correlation: float) -> float:
    return information_gain(
        torch.tensor(gap, dtype=torch.float64), torch.tensor(correlation, dtype=torch.float64)
    ).item()


def entropy_difference(gap: float, r: float) -> float:
    """The definition: entropy of y less that of y given f <= gap, by adaptive quadrature."""

    def term(y: float) -> float:
        inner = norm.logcdf((gap - r * y) / np.sqrt(1 - r**2))
        log_density = norm.logpdf(y) + inner - norm.logcdf(gap)
        return -np.exp(log_density) * log_density

    return 0.5 * np.log(2 * np.pi * np.e) - quad(term, -12, 12, limit=400, points=[gap / r])[0]


@pytest.mark.parametrize("gap", [-2.0, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("correlation", [-0.6, 0.1, 0.5, 0.9, 0.99])
def test_gain_is_the_entropy_difference(gap: float, correlation: float) -> None:
    # The trapezoid rule is exact to 1e-8 but for the sharpest integrands.
    expected = entropy_difference(gap, correlation)
    assert gain(gap, correlation) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0])
def test_gain_tends_to_noiseless_max_value_entropy(gap: float) -> None:
    # Wang and Jegelka 2017, equation 6; the correlation is capped at 0.995, hence 15 %.
    hazard = norm.pdf(gap) / norm.cdf(gap)
    expected = gap * hazard / 2 - norm.logcdf(gap)
    assert gain(gap, 1.0) == pytest.approx(expected, rel=0.15)
    assert gain(gap, 1.0) <= expected


def test_gain_grows_with_correlation_and_vanishes_without() -> None:
    gains = [gain(0.5, r) for r in (0.0, 0.2, 0.5, 0.8, 0.95)]
    assert gains[0] == pytest.approx(0, abs=1e-9)
    assert gains == sorted(gains)
    assert gain(0.5, -0.5) == pytest.approx(gains[2], abs=1e-9)


def test_gain_is_finite_with_gradients_anywhere() -> None:
    gap = torch.tensor([-1e3, -4.0, 0.0, 40.0, 1e6], dtype=torch.float64, requires_grad=True)
    r = torch.tensor([-1.0, 0.0, 1.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    value = information_gain(gap, r)
    value.sum().backward()
    for tensor in (value, gap.grad, r.grad):
        assert torch.isfinite(tensor).all()
    assert (value >= 0).all()


SPACE = make_space(3)
SURROGATE = fit_coregional(
    SPACE, Trials.from_frame(SPACE, hill_frame(SPACE, [0] * 8 + [1] * 3 + [2] * 3))
)


def test_maxima_lie_above_the_best_mean() -> None:
    torch.manual_seed(0)
    mixtures = torch.from_numpy(SPACE.mixtures.sample(200, np.random.default_rng(0)))
    maxima = sample_maxima(SURROGATE, mixtures, 64)
    best = TargetMean(SURROGATE)(mixtures.unsqueeze(-2)).max()
    assert maxima.mean() > best
    assert maxima.shape == (64,)


def test_maxima_of_a_proposal_lie_above_the_climbed_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many domains no uniform draw comes near the maximum: a climb has to find it first."""
    space = make_space(17)
    frame = hill_frame(space, [0] * 40 + [1] * 10 + [2] * 10)
    seen: dict[str, float] = {}

    def spy(surrogate: Surrogate, mixtures: torch.Tensor, draws: int) -> torch.Tensor:
        maxima = sample_maxima(surrogate, mixtures, 64)
        ranking = maximise(TargetMean(surrogate), space.mixtures, mixtures.numpy())
        seen["share below"] = (maxima < ranking.values[0]).double().mean().item()
        return maxima[:draws]

    monkeypatch.setattr(bayesian, "sample_maxima", spy)
    propose(space, frame, make_policy("admire", PolicySettings(design_trials=1)), 0)
    # Far from any trial the mean is at its highest, and half of the draws lie below it.
    assert seen["share below"] < 0.5


@pytest.mark.parametrize("fidelity", [0, 1, 2])
def test_entropy_has_finite_slopes_at_zero_weights(fidelity: int) -> None:
    corner = torch.tensor([[[1.0, 0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    maxima = torch.tensor([1.0, 2.0], dtype=torch.float64)
    value = MaxValueEntropy(SURROGATE, fidelity, maxima)(corner)
    value.sum().backward()
    assert torch.isfinite(corner.grad).all()


def test_at_equal_cost_the_target_says_most() -> None:
    mixtures = torch.from_numpy(SPACE.mixtures.sample(50, np.random.default_rng(1))).unsqueeze(-2)
    maxima = torch.tensor([1.5], dtype=torch.float64)
    values = [MaxValueEntropy(SURROGATE, m, maxima)(mixtures).max().item() for m in range(3)]
    assert values[2] > max(values[:2])
