"""Acquisition functions over mixtures, each at one fidelity."""

from __future__ import annotations

import math

import torch
from botorch.acquisition import AcquisitionFunction
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from admire_pipeline.optimizer.surrogate import Surrogate, quiet

# Quadrature over a standard normal variable. The closer the correlation is to one, the sharper the
# integrand: at 0.995 its width is 0.1, a little more than a step.
_NODES = torch.linspace(-7.0, 7.0, 161, dtype=torch.float64)
_MOST_CORRELATION = 0.995
_LEAST_GAP = -4.0


def information_gain(gap: Tensor, correlation: Tensor) -> Tensor:
    """Information about a maximum from one noisy look at a correlated quantity.

    With ``f`` and ``y`` standard normal and so correlated, this is the mutual information of ``y``
    and the event ``f <= gap`` (Takeno et al. 2020, equation 6): the entropy of ``y`` less that of
    ``p(y | f <= gap) = phi(y) Phi((gap - r y) / sqrt(1 - r^2)) / Phi(gap)``. Its second moment is
    known, which leaves a smooth bounded integral for the trapezoid rule.

    Args:
        gap: Maximum less mean over standard deviation of ``f``, any shape.
        correlation: Correlation ``r`` of ``y`` and ``f``, of a shape that broadcasts.

    Returns:
        Nats, at least 0, of the broadcast shape.
    """
    gap = gap.clamp_min(_LEAST_GAP)
    r = correlation.clamp(-_MOST_CORRELATION, _MOST_CORRELATION)
    log_mass = torch.special.log_ndtr(gap)
    hazard = torch.exp(-0.5 * gap**2 - 0.5 * math.log(2 * math.pi) - log_mass)
    inner = (gap.unsqueeze(-1) - r.unsqueeze(-1) * _NODES) / torch.sqrt(1 - r**2).unsqueeze(-1)
    log_inner = torch.special.log_ndtr(inner)
    weights = torch.softmax(log_inner - 0.5 * _NODES**2, dim=-1)
    gain = 0.5 * r**2 * gap * hazard - log_mass + (weights * log_inner).sum(dim=-1)
    return gain.clamp_min(0)


def sample_maxima(surrogate: Surrogate, mixtures: Tensor, draws: int) -> Tensor:
    """Draw standardised maxima at the target from the posterior, over a finite set.

    Args:
        surrogate: The fitted model.
        mixtures: ``n x K`` weights that cover where the maximum may be.
        draws: Number of maxima.

    Returns:
        ``draws`` maxima; the global torch random state decides them.
    """
    with torch.no_grad(), quiet():
        posterior = surrogate.posterior(surrogate.encode(mixtures, surrogate.target))
        covariance = posterior.distribution.covariance_matrix
        root = psd_safe_cholesky(covariance, max_tries=8)
        noise = torch.randn(len(mixtures), draws, dtype=mixtures.dtype)
        return (posterior.mean + root @ noise).amax(dim=0)


class TargetMean(AcquisitionFunction):
    """Posterior mean at the target, standardised: what a recommendation maximises.

    Args:
        surrogate: The fitted model.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__(surrogate.model)
        self.surrogate = surrogate

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``."""
        inputs = self.surrogate.encode(X, self.surrogate.target)
        return self.surrogate.posterior(inputs).mean[..., 0, 0]


class MaxValueEntropy(AcquisitionFunction):
    """Information about the maximum at the target from one trial (Takeno et al. 2020).

    Args:
        surrogate: The fitted model.
        fidelity: Position of the fidelity at which mixtures are tried.
        maxima: ``s`` draws of the standardised maximum at the target.
    """

    def __init__(self, surrogate: Surrogate, fidelity: int, maxima: Tensor) -> None:
        super().__init__(surrogate.model)
        self.surrogate = surrogate
        self.fidelity = fidelity
        self.maxima = maxima

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``, in nats."""
        encode, target = self.surrogate.encode, self.surrogate.target
        both = torch.cat([encode(X, self.fidelity), encode(X, target)], dim=-2)
        posterior = self.surrogate.posterior(both)
        covariance = posterior.distribution.covariance_matrix
        observed = covariance[..., 0, 0].clamp_min(0) + self.surrogate.noise[self.fidelity]
        deviation = covariance[..., 1, 1].clamp_min(1e-12).sqrt()
        correlation = covariance[..., 0, 1] / (observed.sqrt() * deviation)
        gap = (self.maxima - posterior.mean[..., 1, :]) / deviation.unsqueeze(-1)
        return information_gain(gap, correlation.unsqueeze(-1)).mean(dim=-1)
