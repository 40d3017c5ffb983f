"""The published surrogate: BoTorch's multi-fidelity GP with the defaults of its release 0.10.

Later releases have others, so they are set here:

- no outcome transform (since 0.12 scores are standardised): the model sees raw scores;
- the noise variance has a Gamma(1.1, 0.05) prior and is at least 1e-4 (since 0.12 the prior is
  log-normal).

The kernel (linear truncated fidelity: two Matern 5/2, one length for each weight), its priors and
the fit are the same in both.
"""

from __future__ import annotations

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.utils.gpytorch_modules import get_gaussian_likelihood_with_gamma_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from admire_pipeline.optimizer.numerics import quiet
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials


def encode(space: Space, trials: Trials) -> Tensor:
    """Return the model's inputs (``n x (K + 1)``): raw weights and the cost ratio to the target."""
    columns = np.array(ratios(space))[trials.fidelities]
    return torch.from_numpy(np.column_stack([trials.mixtures, columns]))


def ratios(space: Space) -> list[float]:
    """Return the value of the fidelity column for each of the ``M`` fidelities, the target's is 1.

    The kernel is for values up to 1, and a size as dear as the target is not the target.
    """
    smaller = space.fidelities[:-1]
    return [min(0.99, fidelity.cost / space.target.cost) for fidelity in smaller] + [1.0]


def fit_model(inputs: Tensor, scores: Tensor) -> SingleTaskMultiFidelityGP:
    """Fit the surrogate; where that fails numerically its start values stay.

    Args:
        inputs: ``n x (K + 1)`` weights and cost ratio.
        scores: ``n`` raw scores.
    """
    with quiet():
        model = SingleTaskMultiFidelityGP(
            inputs,
            scores.unsqueeze(-1),
            data_fidelities=[inputs.shape[-1] - 1],
            likelihood=get_gaussian_likelihood_with_gamma_prior(),
            outcome_transform=None,
        )
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        try:
            fit_gpytorch_mll(likelihood)
        except ModelFittingError:
            likelihood.eval()
    return model


def at_fidelity(
    space: Space, acquisition: AcquisitionFunction, fidelity: int
) -> AcquisitionFunction:
    """Fix the fidelity of an acquisition function: what is left is over ``b x 1 x K`` mixtures."""
    count = len(space.mixtures)
    value = torch.tensor([ratios(space)[fidelity]], dtype=torch.float64)
    return FixedFeatureAcquisitionFunction(acquisition, count + 1, [count], value)


def evaluate(acquisition: AcquisitionFunction, mixtures: np.ndarray) -> np.ndarray:
    """Evaluate mixtures (``n x K``); what is not a number is the least."""
    if not len(mixtures):
        return np.empty(0)
    with torch.no_grad(), quiet():
        values = acquisition(torch.from_numpy(mixtures).unsqueeze(-2)).numpy()
    return finite(values)


def finite(values: np.ndarray) -> np.ndarray:
    """Replace what is not a number by the least value."""
    return np.where(np.isnan(values), -np.inf, values)


def predict(
    space: Space, model: SingleTaskMultiFidelityGP, mixture: np.ndarray
) -> tuple[float, float]:
    """Return mean and standard deviation of the noise-free score of a mixture at the target."""
    inputs = torch.from_numpy(np.append(mixture, 1.0)[None])
    with torch.no_grad(), quiet():
        posterior = model.posterior(inputs)
        return posterior.mean.item(), posterior.variance.clamp_min(0).sqrt().item()
