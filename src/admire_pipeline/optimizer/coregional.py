"""A Gaussian process over mixtures and fidelities, tied by learned correlations."""

from __future__ import annotations

import math

import torch
from botorch.models.gpytorch import GPyTorchModel
from gpytorch.constraints import Interval
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel, LinearKernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import HadamardGaussianLikelihood
from gpytorch.means import ZeroMean
from gpytorch.models import ExactGP
from gpytorch.priors import LogNormalPrior, NormalPrior
from torch import Tensor

# Priors for standardised scores and centred square roots of weights: (mean, standard deviation) of
# the logarithm. Chosen by the predictions from 17 to 43 trials of two published run tables
# (Pile, Tulu); they differ little within a factor of e.
_LINEAR_VARIANCE = (2.0, 1.0)
_SMOOTH_VARIANCE = (0.0, 1.0)
_LENGTHSCALE = (-0.7, 0.7)
_NOISE_VARIANCE = (-4.0, 1.0)
_SPREAD = (0.0, 0.3)

# The level of a fidelity is known to about two spreads of its scores before the first one.
_LEVEL_VARIANCE = 4.0


class FidelityKernel(Kernel):
    """Covariances ``D C D`` between fidelities, all free (Bonilla et al. 2007).

    The correlations ``C`` are ``L L'`` where ``L`` is a unit lower triangle with its rows
    normalised and the target in its first row, so that the first column holds the correlations
    with the target. Each entry below the diagonal has the prior N(1, 2) before normalisation: a
    correlation of the size next to the target of 0.7 at the median, one below 0 with probability
    0.3; of the third size 0.4 at the median, of the seventh 0.2. The prior is weak on purpose, as
    some objectives do not transfer between sizes. The spreads ``D`` stay near one: they correct
    the standardisation of the scores.

    Args:
        fidelities: Their number; the target is the last.
    """

    def __init__(self, fidelities: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._rows, self._columns = torch.tril_indices(fidelities, fidelities, -1)
        self._identity = torch.eye(fidelities, dtype=torch.float64)
        entries = torch.ones(len(self._rows), dtype=torch.float64)
        self.register_parameter("entries", torch.nn.Parameter(entries))
        if len(entries):
            self.register_prior(
                "entries_prior",
                NormalPrior(1.0, 2.0),
                lambda module: module.entries,
                lambda module, value: module.initialize(entries=value.expand(len(entries))),
            )
        prior, constraint = _positive(_SPREAD, 0.05)
        spreads = torch.ones(fidelities, dtype=torch.float64)
        self.register_parameter("spreads", torch.nn.Parameter(spreads))
        self.register_constraint("spreads", constraint)
        self.register_prior(
            "spreads_prior",
            prior,
            lambda module: module.spreads,
            lambda module, value: module.initialize(spreads=value.expand(fidelities)),
        )

    def oppose(self) -> None:
        """Start a fit from sizes that rank mixtures the other way round than the target."""
        self.entries.data[self._columns == 0] = -2.0

    @property
    def correlation(self) -> Tensor:
        """Correlations (``M x M``), in the order of the fidelities."""
        triangle = self._identity.index_put((self._rows, self._columns), self.entries)
        root = torch.nn.functional.normalize(triangle, dim=-1).flip(0)
        return root @ root.T

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariances of fidelity positions ``... x n x 1`` and ``... x m x 1``."""
        covariance = self.spreads.unsqueeze(-1) * self.correlation * self.spreads
        row, column = x1[..., 0].long(), x2[..., 0].long()
        if diag:
            return covariance[row, column]
        return covariance[row.unsqueeze(-1), column.unsqueeze(-2)]


class LevelKernel(Kernel):
    """One unknown level per fidelity, since the level of one size says nothing about another's.

    A level in the kernel rather than in the mean keeps its uncertainty in the predictions, which
    matters while the target has few trials.
    """

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance of fidelity positions ``... x n x 1`` and ``... x m x 1``."""
        row, column = x1[..., 0], x2[..., 0]
        same = row == column if diag else row.unsqueeze(-1) == column.unsqueeze(-2)
        return _LEVEL_VARIANCE * same.to(x1)


class CoregionalGP(ExactGP, GPyTorchModel):
    """Intrinsic coregionalization of a linear plus a Matern-5/2 process over embedded mixtures.

    Args:
        inputs: ``n x (K + 1)`` embedded mixtures, centred, and the position of the fidelity.
        scores: ``n`` standardised scores.
        fidelities: Number of fidelities, observed or not.
    """

    num_outputs = 1

    def __init__(self, inputs: Tensor, scores: Tensor, fidelities: int) -> None:
        domains = inputs.shape[-1] - 1
        weights = tuple(range(domains))
        prior, constraint = _positive(_NOISE_VARIANCE, 1e-4)
        likelihood = HadamardGaussianLikelihood(
            fidelities, noise_prior=prior, noise_constraint=constraint, task_feature_index=domains
        )
        super().__init__(inputs, scores, likelihood)
        prior, constraint = _positive(_LINEAR_VARIANCE, 1e-3)
        linear = LinearKernel(
            variance_prior=prior, variance_constraint=constraint, active_dims=weights
        )
        prior, constraint = _positive(_LENGTHSCALE, 0.05)
        matern = MaternKernel(
            lengthscale_prior=prior, lengthscale_constraint=constraint, active_dims=weights
        )
        prior, constraint = _positive(_SMOOTH_VARIANCE, 1e-3)
        smooth = ScaleKernel(matern, outputscale_prior=prior, outputscale_constraint=constraint)
        self.mean_module = ZeroMean()
        self.fidelity_kernel = FidelityKernel(fidelities, active_dims=(domains,))
        level = LevelKernel(active_dims=(domains,))
        self.covar_module = (linear + smooth) * self.fidelity_kernel + level
        self.to(inputs)

    def forward(self, inputs: Tensor) -> MultivariateNormal:
        """Return the prior at inputs (``... x n x (K + 1)``)."""
        return MultivariateNormal(self.mean_module(inputs), self.covar_module(inputs))


def _positive(log: tuple[float, float], least: float) -> tuple[LogNormalPrior, Interval]:
    """Return the prior of a positive hyperparameter, and its bounds with the median to start at."""
    bounds = Interval(least, 1e3, transform=None, initial_value=math.exp(log[0]))
    return LogNormalPrior(*log), bounds
