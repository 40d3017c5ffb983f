"""Our surrogate: one Gaussian process a metric, averaged over its hyperparameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from admire_pipeline.optimizer.covariance import LEVEL_VARIANCE, covariance
from admire_pipeline.optimizer.embedding import Embedding
from admire_pipeline.optimizer.evidence import JITTER
from admire_pipeline.optimizer.hyperparameters import Hyperparameters
from admire_pipeline.optimizer.trials import Trials

CHUNK = 32
"""Mixtures that are predicted at once: their covariances with the trials stay in the cache."""


@dataclass(frozen=True)
class Part:
    """The posterior of the metrics that the same ``n`` trials have.

    Attributes:
        inputs: ``n x K`` embedded mixtures.
        fidelities: ``n`` positions.
        root: ``S x n x n`` Cholesky factors of the covariances, noise included.
        white: ``S x n x P`` standardised values, whitened by the factors.
        probability: ``S x P`` posterior probabilities of the draws.
        variance: ``S x P`` expected variances of the metrics, 1 as standardised.
        weights: ``P`` parts of one standardised unit in the score.
        units: Of each metric its name, and what 0 and 1 stand for, standardised; empty where the
            score is modelled alone.
    """

    inputs: Tensor
    fidelities: Tensor
    root: Tensor
    white: Tensor
    probability: Tensor
    variance: Tensor
    weights: Tensor
    units: tuple[tuple[str, float, float], ...]

    @property
    def scale(self) -> Tensor:
        """Variance (``S``) of the score in each draw, 1 as standardised."""
        return (self.variance * self.weights**2).sum(dim=1)

    @property
    def share(self) -> Tensor:
        """Weight (``S``) of each draw's covariance in that of the score."""
        return (self.probability * self.variance * self.weights**2).sum(dim=1)


@dataclass(frozen=True)
class Moments:
    """What a surrogate says of mixtures at one fidelity, before it is summed over draws.

    Attributes:
        fidelity: Its position.
        inputs: ``b x K`` embedded mixtures.
        solved: Per part ``S x n x b``: covariances with the trials, whitened, times the square
            roots of the draws' shares.
        averages: Per part ``P x b`` means of the metrics, standardised.
        offsets: Per part ``S x P x b``: how far each draw's mean is from the average one.
        mean: ``b`` means of the score.
    """

    fidelity: int
    inputs: Tensor
    solved: tuple[Tensor, ...]
    averages: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    mean: Tensor

    def where(self, rows: Tensor) -> Moments:
        """Return those of some of the mixtures."""
        return Moments(
            self.fidelity,
            self.inputs[rows],
            tuple(part[..., rows] for part in self.solved),
            tuple(part[..., rows] for part in self.averages),
            tuple(part[..., rows] for part in self.offsets),
            self.mean[rows],
        )


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of the score, in the score's own unit.

    Attributes:
        embed: From mixtures to inputs.
        draws: ``S`` hyperparameters that explain the trials best.
        parts: The metrics, by the trials that have them.
        level: Score of the target's location in every metric.
        evaluation: ``M`` variances of the noise that evaluations at each size are known to have,
            on average; what future trials will have too.
    """

    embed: Embedding
    draws: Hyperparameters
    parts: tuple[Part, ...]
    level: float
    evaluation: Tensor

    @property
    def target(self) -> int:
        """Position of the target fidelity."""
        return self.draws.noise.shape[1] - 1

    @property
    def _share(self) -> Tensor:
        """Weight (``S``) of each draw's covariance in that of the score, over all metrics."""
        return torch.stack([part.share for part in self.parts]).sum(dim=0)

    @cached_property
    def _slopes(self) -> tuple[Tensor, ...]:
        """Per part ``S x n``: of the average mean in the covariances with the trials."""
        slopes = []
        for part in self.parts:
            values = torch.linalg.solve_triangular(
                part.root.transpose(1, 2), part.white, upper=True
            )
            slopes.append(torch.einsum("snp,sp->sn", values, part.probability * part.weights))
        return tuple(slopes)

    def mean(self, mixtures: Tensor, fidelity: int) -> Tensor:
        """Return the means (``b``) of ``moments`` alone, which is far less work."""
        inputs = self.embed(mixtures)
        where = torch.full((len(inputs),), fidelity)
        mean = torch.full((len(inputs),), self.level, dtype=inputs.dtype)
        for part, slopes in zip(self.parts, self._slopes, strict=True):
            cross = covariance(self.draws, part.inputs, part.fidelities, inputs, where)
            mean = mean + slopes.flatten() @ cross.flatten(0, 1)
        return mean

    def moments(self, mixtures: Tensor, fidelity: int) -> Moments:
        """Condition mixtures (``b x K``) at a fidelity on the trials."""
        inputs = self.embed(mixtures)
        where = torch.full((len(inputs),), fidelity)
        mean = torch.full((len(inputs),), self.level, dtype=inputs.dtype)
        solved, averages, offsets = [], [], []
        for part in self.parts:
            cross = covariance(self.draws, part.inputs, part.fidelities, inputs, where)
            white = torch.linalg.solve_triangular(part.root, cross, upper=False)
            means = part.white.transpose(1, 2) @ white
            # Laid out as `covariance` reads it, which it does many times for the same options.
            solved.append((part.share.sqrt()[:, None, None] * white).contiguous())
            average = (part.probability.unsqueeze(-1) * means).sum(dim=0)
            mean = mean + part.weights @ average
            averages.append(average)
            offsets.append(means - average)
        return Moments(fidelity, inputs, tuple(solved), tuple(averages), tuple(offsets), mean)

    def _prior(self, left: Moments, right: Moments) -> Tensor:
        """Return the prior covariances, ``S x b x c``."""
        here = torch.full((len(left.inputs),), left.fidelity)
        there = torch.full((len(right.inputs),), right.fidelity)
        return covariance(self.draws, left.inputs, here, right.inputs, there)

    def covariance(self, left: Moments, right: Moments) -> Tensor:
        """Return the posterior covariance of the noise-free score, ``b x c``.

        The law of total covariance over the draws: the mean of their covariances, plus the
        covariance of their means, which is what not knowing the hyperparameters adds.
        """
        prior = self._prior(left, right)
        total = torch.einsum("s,sbc->bc", self._share, prior)
        for here, there in zip(left.solved, right.solved, strict=True):
            total = total - _contract(here, there)
        return total + self.disagreement(left, right)

    def disagreement(self, left: Moments, right: Moments) -> Tensor:
        """Return what of the covariance (``b x c``) is between the draws: that of their means."""
        total = torch.zeros((), dtype=left.mean.dtype)
        for part, here, there in zip(self.parts, left.offsets, right.offsets, strict=True):
            between = (part.probability.sqrt() * part.weights).unsqueeze(-1)
            total = total + _contract(between * here, between * there)
        return total

    @property
    def weight(self) -> Tensor:
        """How much each of the ``S`` draws counts for the score, sum 1."""
        return self._share / self._share.sum()

    def covariance_by_draw(self, left: Moments, right: Moments) -> Tensor:
        """Return the posterior covariances of the noise-free score, ``S x b x c``, draw by draw."""
        prior = self._prior(left, right)
        total = torch.zeros_like(prior)
        for index, part in enumerate(self.parts):
            known = left.solved[index].transpose(1, 2) @ right.solved[index]
            known = known / part.share[:, None, None]
            total = total + part.scale[:, None, None] * (prior - known)
        return total

    def noise_by_draw(self, fidelity: int) -> Tensor:
        """Return the variance (``S``) of the noise of one trial's score, draw by draw."""
        scale = torch.stack([part.scale for part in self.parts]).sum(dim=0)
        return scale * self.draws.noise[:, fidelity] + self.evaluation[fidelity]

    def variance(self, moments: Moments) -> Tensor:
        """Return the posterior variances (``b``) of the noise-free score."""
        inputs, fidelity = moments.inputs, moments.fidelity
        spread = self.draws.coregion[:, fidelity, fidelity]
        linear = self.draws.linear * spread
        share = self._share
        total = (share * (spread - linear + LEVEL_VARIANCE)).sum()
        total = total + (share * linear).sum() * inputs.square().sum(dim=1)
        for index, part in enumerate(self.parts):
            total = total - moments.solved[index].square().sum(dim=(0, 1))
            between = part.probability * part.weights**2
            total = total + torch.einsum("sp,spb->b", between, moments.offsets[index] ** 2)
        return total.clamp_min(0)

    def noise(self, fidelity: int) -> float:
        """Return the variance of the noise of one trial's score at a fidelity."""
        return float(self._share @ self.draws.noise[:, fidelity] + self.evaluation[fidelity])

    def predict(self, mixtures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict the noise-free score at the target.

        Args:
            mixtures: ``n x K`` weights.

        Returns:
            Means (``n``) and standard deviations (``n``), in units of the score.
        """
        means, deviations = [], []
        with torch.no_grad():
            for part in torch.from_numpy(mixtures).split(CHUNK):
                moments = self.moments(part, self.target)
                means.append(moments.mean.numpy())
                deviations.append(self.variance(moments).sqrt().numpy())
        return np.concatenate(means), np.concatenate(deviations)

    def predict_metrics(self, mixture: np.ndarray) -> dict[str, tuple[float, float]]:
        """Predict the noise-free metrics of a mixture (``K``) at the target, each in its own unit.

        Returns:
            Mean and standard deviation by name; empty where the score is modelled alone.
        """
        moments = self.moments(torch.from_numpy(mixture[None]), self.target)
        prior = self._prior(moments, moments)[:, 0]
        found = {}
        for index, part in enumerate(self.parts):
            known = moments.solved[index].square().sum(dim=1) / part.share.unsqueeze(1)
            spread = part.variance * (prior - known) + moments.offsets[index][..., 0].square()
            variance = (part.probability * spread).sum(dim=0)
            for column, (name, location, scale) in enumerate(part.units):
                mean = location + scale * moments.averages[index][column, 0].item()
                found[name] = (mean, scale * math.sqrt(max(0.0, variance[column].item())))
        return found

    def likeliest(self, count: int) -> Surrogate:
        """Return a coarser and cheaper model: of the draws that count most for the score alone."""
        chosen = self.weight.argsort(descending=True, stable=True)[:count]
        parts = []
        for part in self.parts:
            probability = part.probability[chosen]
            parts.append(
                replace(
                    part,
                    root=part.root[chosen],
                    white=part.white[chosen],
                    probability=probability / probability.sum(dim=0),
                    variance=part.variance[chosen],
                )
            )
        return replace(self, draws=self.draws[chosen], parts=tuple(parts))

    def believe(self, unseen: Trials) -> Surrogate:
        """Take the predictions for trials without scores as their metrics (the kriging believer).

        It leaves the predictions alone and removes the uncertainty that these trials would remove
        (Ginsbourger et al. 2010), so that they and their neighbours are not proposed again.
        """
        if not len(unseen):
            return self
        inputs = self.embed(torch.from_numpy(unseen.mixtures))
        fidelities = torch.from_numpy(unseen.fidelities)
        parts = []
        for part in self.parts:
            cross = covariance(self.draws, part.inputs, part.fidelities, inputs, fidelities)
            solved = torch.linalg.solve_triangular(part.root, cross, upper=False)
            block = covariance(self.draws, inputs, fidelities, inputs, fidelities)
            block = block + torch.diag_embed(self.draws.noise[:, fidelities] + JITTER)
            corner = torch.linalg.cholesky(block - solved.transpose(1, 2) @ solved)
            top = torch.cat([part.root, torch.zeros_like(solved)], dim=2)
            bottom = torch.cat([solved.transpose(1, 2), corner], dim=2)
            # A value equal to its prediction is 0 once whitened.
            unsurprising = part.white.new_zeros(len(self.draws), len(inputs), part.white.shape[2])
            white = torch.cat([part.white, unsurprising], dim=1)
            parts.append(
                replace(
                    part,
                    inputs=torch.cat([part.inputs, inputs]),
                    fidelities=torch.cat([part.fidelities, fidelities]),
                    root=torch.cat([top, bottom], dim=1),
                    white=white,
                )
            )
        return replace(self, parts=tuple(parts))


def _contract(left: Tensor, right: Tensor) -> Tensor:
    """Sum ``S x n x b`` and ``S x n x c`` over their first two dimensions, to ``b x c``."""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
