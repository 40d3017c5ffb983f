"""From trials to a fitted model of the score, in one shape for all policies."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import InputDataWarning, OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP, SingleTaskMultiFidelityGP
from botorch.posteriors import GPyTorchPosterior
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.models import ExactGP
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from admire_pipeline.optimizer.coregional import CoregionalGP
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials

# The square root has no slope at 0; a weight below this is as good as 0.
_EMBEDDING_FLOOR = 1e-4
_FIT_ITERATIONS = 100
_FIT_ATTEMPTS = 2


@dataclass(frozen=True)
class Encoding:
    """How trials become inputs of a model.

    Attributes:
        roots: Whether weights enter by their square roots (the Hellinger embedding), less those
            of equal weights.
        column: Value of the last input for each fidelity (``M``); empty for no such input.
    """

    roots: bool
    column: tuple[float, ...] = ()

    def __call__(self, mixtures: Tensor, fidelity: int) -> Tensor:
        """Encode mixtures (``... x K``) at the fidelity of this position."""
        inputs = mixtures
        if self.roots:
            centre = (1 / mixtures.shape[-1] + _EMBEDDING_FLOOR) ** 0.5
            inputs = (mixtures.clamp_min(0) + _EMBEDDING_FLOOR).sqrt() - centre
        if not self.column:
            return inputs
        return torch.cat([inputs, torch.full_like(inputs[..., :1], self.column[fidelity])], dim=-1)

    def trials(self, trials: Trials) -> Tensor:
        """Encode trials, ``n x K`` or ``n x (K + 1)``."""
        mixtures = torch.from_numpy(trials.mixtures)
        rows = zip(mixtures, trials.fidelities.tolist(), strict=True)
        return torch.stack([self(mixture, fidelity) for mixture, fidelity in rows])


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of standardised scores.

    Attributes:
        model: BoTorch model with one output, an exact Gaussian process.
        encode: From mixtures and a fidelity to its inputs.
        noise: Variance of the observation noise of each fidelity (``M``), standardised.
        location: Score at the target that the model calls 0.
        scale: Difference between scores at the target that the model calls 1.
        location_sd: Standard deviation of the location: what a target without trials scores is not
            known from the smaller sizes, only which mixtures score better there.
    """

    model: ExactGP
    encode: Encoding
    noise: tuple[float, ...]
    location: float
    scale: float
    location_sd: float = 0.0

    @property
    def target(self) -> int:
        """Position of the target fidelity."""
        return len(self.noise) - 1

    def posterior(self, inputs: Tensor) -> GPyTorchPosterior:
        """Return the joint posterior of the noise-free standardised score at encoded inputs."""
        return self.model.posterior(inputs)

    def predict(self, mixtures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict the noise-free score at the target.

        Args:
            mixtures: ``n x K`` weights.

        Returns:
            Means (``n``) and standard deviations (``n``), in units of the score.
        """
        with torch.no_grad(), quiet():
            inputs = self.encode(torch.from_numpy(mixtures), self.target)
            posterior = self.posterior(inputs.unsqueeze(-2))
            mean = posterior.mean.reshape(-1).numpy()
            deviation = posterior.variance.clamp_min(0).sqrt().reshape(-1).numpy()
        deviation = np.hypot(self.scale * deviation, self.location_sd)
        return self.location + self.scale * mean, deviation

    def believe(self, pending: Trials) -> None:
        """Take the predictions for pending trials as their scores (the kriging believer).

        It leaves the predictions alone and removes the uncertainty that these trials will remove
        (Ginsbourger et al. 2010), so that they are not proposed again.
        """
        if not len(pending):
            return
        inputs = self.encode.trials(pending)
        with torch.no_grad(), quiet():
            scores = self.posterior(inputs).mean.squeeze(-1)
        self.model.set_train_data(
            torch.cat([self.model.train_inputs[0], inputs]),
            torch.cat([self.model.train_targets, scores]),
            strict=False,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what the GP libraries say about inputs and numerics that we handle ourselves."""
    with warnings.catch_warnings():
        for category in (InputDataWarning, NumericalWarning, OptimizationWarning):
            warnings.simplefilter("ignore", category)
        yield


def standardise(
    inputs: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    count: int,
    errors: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the level of each group of scores, and its spread over the whole simplex.

    A group may hold mixtures much alike, as trials near the best one are, and their scores then
    differ less than those of another group. So the spread is not that of the scores: it is their
    sum of squares over that of their inputs, times the variance of the inputs of uniformly drawn
    mixtures. Each group's is shrunk to that of all, which weighs as much as one such mixture. A
    group without scores has the level of the nearest one. Scores that differ by less than their
    standard errors say nothing of the spread, so it is at least the errors' root mean square.

    Args:
        inputs: ``n x K`` square roots of weights (less a constant).
        scores: ``n >= 1`` scores.
        groups: ``n`` positions of their groups.
        count: Number of groups ``G``.
        errors: ``n`` standard errors of the scores, NaN where unknown.

    Returns:
        Locations (``G``) and positive scales (``G``).
    """
    domains = inputs.shape[1]
    # A weight of a uniform mixture is Beta(1, K - 1) distributed; this is the mean of its root.
    root = math.exp(math.lgamma(1.5) + math.lgamma(domains) - math.lgamma(domains + 0.5))
    typical = 1 - domains * root**2
    members = [np.flatnonzero(groups == group) for group in range(count)]
    present = np.array([group for group in range(count) if len(members[group])])
    nearest = [present[np.argmin(np.abs(present - group))] for group in range(count)]
    location = np.array([scores[members[group]].mean() for group in nearest])
    of_scores = np.array([_squares(scores[member]) for member in members])
    of_inputs = np.array([_squares(inputs[member]) for member in members])
    pooled = of_scores.sum() / max(of_inputs.sum(), 0.01 * typical * len(scores))
    level = float(np.abs(scores).max())
    if pooled * typical <= (1e-9 * level) ** 2:
        # All scores are equal up to round-off: their spread is unknown, their level is all we have.
        pooled = (level if level > 0 else 1.0) ** 2 / typical
    slopes = (of_scores + pooled * typical) / (of_inputs + typical)
    scale = np.sqrt(slopes * typical)
    if errors is not None and np.isfinite(errors).any():
        scale = np.maximum(scale, math.sqrt(np.nanmean(errors**2)))
    return location, scale


def _squares(values: np.ndarray) -> float:
    """Return the sum of squares about the mean of rows."""
    return float(((values - values.mean(axis=0)) ** 2).sum()) if len(values) else 0.0


def fit_coregional(space: Space, seen: Trials) -> Surrogate:
    """Fit our surrogate: square roots of weights, fidelities tied by learned correlations.

    Args:
        space: The campaign's space.
        seen: At least one observed trial, at any fidelity.
    """
    count = len(space.fidelities)
    encode = Encoding(roots=True, column=tuple(float(i) for i in range(count)))
    inputs = encode.trials(seen)
    location, scale = standardise(
        inputs[:, :-1].numpy(), seen.scores, seen.fidelities, count, seen.score_errors
    )
    scores = torch.from_numpy((seen.scores - location[seen.fidelities]) / scale[seen.fidelities])
    # Two climbs: from one, sizes that rank mixtures the other way round are taken for unrelated.
    models = [CoregionalGP(inputs, scores, count) for _ in range(min(2, count))]
    for model in models[1:]:
        model.fidelity_kernel.oppose()
    for model in models:
        _fit(model)
    model = max(models, key=_log_posterior)
    noise = tuple(model.likelihood.noise.tolist())
    unknown = 0.0
    if not (seen.fidelities == count - 1).any():
        # As far as the sizes seen are apart; one size alone leaves all of its level in doubt.
        levels = [location[i] for i in np.unique(seen.fidelities)]
        unknown = float(np.ptp(levels) if len(levels) > 1 else abs(levels[0]))
    return Surrogate(model, encode, noise, float(location[-1]), float(scale[-1]), unknown)


def fit_multifidelity(space: Space, seen: Trials) -> Surrogate:
    """Fit the published surrogate: BoTorch's multi-fidelity GP on raw weights and cost ratios.

    Args:
        space: The campaign's space.
        seen: At least one observed trial, at any fidelity.
    """
    # The kernel is for fidelities up to 1, the target; a size as dear as the target is not it.
    ratios = [min(0.99, size.cost / space.target.cost) for size in space.fidelities[:-1]] + [1.0]
    encode = Encoding(roots=False, column=tuple(ratios))
    inputs, scores, location, scale = _pooled(encode, seen)
    fidelity = [inputs.shape[-1] - 1]
    with quiet():
        model = SingleTaskMultiFidelityGP(
            inputs, scores, data_fidelities=fidelity, outcome_transform=None
        )
    _fit(model)
    noise = model.likelihood.noise.item()
    return Surrogate(model, encode, (noise,) * len(ratios), location, scale)


def fit_target(space: Space, seen: Trials) -> Surrogate:
    """Fit BoTorch's default GP on raw weights, for trials at the target alone.

    Args:
        space: The campaign's space.
        seen: At least one observed trial, all at the target.
    """
    encode = Encoding(roots=False)
    inputs, scores, location, scale = _pooled(encode, seen)
    with quiet():
        model = SingleTaskGP(inputs, scores, outcome_transform=None)
    _fit(model)
    noise = model.likelihood.noise.item()
    return Surrogate(model, encode, (noise,) * len(space.fidelities), location, scale)


def _pooled(encode: Encoding, seen: Trials) -> tuple[Tensor, Tensor, float, float]:
    """Return inputs and scores (``n x 1``) standardised together, with location and scale."""
    location, scale = float(seen.scores.mean()), float(seen.scores.std())
    level = float(np.abs(seen.scores).max())
    if scale <= 1e-9 * level:
        scale = level if level > 0 else 1.0
    scores = torch.from_numpy((seen.scores - location) / scale).unsqueeze(-1)
    return encode.trials(seen), scores, location, scale


def _fit(model: ExactGP) -> None:
    """Find the most probable hyperparameters; where that fails the prior's own ones stay."""
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    options = {"options": {"maxiter": _FIT_ITERATIONS}}
    with quiet():
        try:
            fit_gpytorch_mll(likelihood, optimizer_kwargs=options, max_attempts=_FIT_ATTEMPTS)
        except ModelFittingError:
            likelihood.eval()


def _log_posterior(model: ExactGP) -> float:
    """Log density of a model's hyperparameters given its data, up to a constant, per trial."""
    density = ExactMarginalLogLikelihood(model.likelihood, model).train()
    with torch.no_grad(), quiet():
        value = density(model(*model.train_inputs), model.train_targets, *model.train_inputs)
    density.eval()
    return float(value)
