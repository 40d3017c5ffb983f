"""How well draws of the hyperparameters explain the trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from admire_pipeline.optimizer.covariance import covariance
from admire_pipeline.optimizer.hyperparameters import Hyperparameters

JITTER = 1e-6
"""Variance that keeps equal trials apart numerically."""

SCALE_WEIGHT = 6.0
"""Inverse-gamma prior of the variance that standardisation leaves, as so many observations."""

_CACHED = 2**15  # numbers in the covariances that are made at once: 256 kB, which stay in the cache


@dataclass(frozen=True)
class Data:
    """The trials that some metrics have: what a part of the surrogate is made of.

    Attributes:
        inputs: ``n x K``.
        fidelities: ``n``.
        values: ``n x P``, standardised.
        evaluation: ``n`` variances of the noise that the evaluation is known to have.
        weights: ``P`` parts of one standardised unit in the score.
        units: Of each metric its name, and what 0 and 1 stand for, standardised; empty where the
            score is modelled alone.
    """

    inputs: Tensor
    fidelities: Tensor
    values: Tensor
    evaluation: Tensor
    weights: Tensor
    units: tuple[tuple[str, float, float], ...]

    def where(self, rows: Tensor) -> Data:
        """Return some of the trials."""
        return replace(
            self,
            inputs=self.inputs[rows],
            fidelities=self.fidelities[rows],
            values=self.values[rows],
            evaluation=self.evaluation[rows],
        )


def weigh(draws: Hyperparameters, data: Data, *, averaged: bool, most: int) -> Tensor:
    """Return the posterior probabilities (``S x P``) of prior draws, for each metric.

    Args:
        draws: Equally probable before the trials.
        data: The trials.
        averaged: Otherwise the most probable draw has probability one.
        most: Trials that are looked at.
    """
    trials = len(data.inputs)
    if trials > most:
        # One half of the largest sizes, the other an even choice of the rest.
        order = torch.argsort(data.fidelities, descending=True, stable=True)
        head = order[: most // 2]
        rest = order[most // 2 :]
        step = torch.linspace(0, len(rest) - 1, most - len(head)).long()
        data = data.where(torch.cat([head, rest[step]]))
    evidence = torch.cat([_evidence(chunk, data) for chunk in chunks(draws, data)])
    if averaged:
        return torch.softmax(evidence, dim=0)
    # One draw for all metrics, so that this is what a fit by maximum likelihood would give.
    best = evidence.sum(dim=1).argmax()
    chosen = torch.zeros_like(evidence)
    chosen[best] = 1.0
    return chosen


def chunks(draws: Hyperparameters, data: Data) -> Iterator[Hyperparameters]:
    """Yield a few draws at a time, the fewer the more trials."""
    size = max(1, _CACHED // len(data.inputs) ** 2)
    for start in range(0, len(draws), size):
        yield draws[start : start + size]


def _evidence(draws: Hyperparameters, data: Data) -> Tensor:
    """Log marginal likelihood (``S x P``): a Student-t, the metric's variance integrated out."""
    root, _, quadratic = factor(draws, data)
    determinant = root.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    freedom = SCALE_WEIGHT + len(data.inputs)
    return -determinant.unsqueeze(1) - 0.5 * freedom * torch.log(SCALE_WEIGHT + quadratic)


def factor(draws: Hyperparameters, data: Data) -> tuple[Tensor, Tensor, Tensor]:
    """Return Cholesky factors, whitened values and their squared lengths (``S x P``)."""
    matrix = covariance(draws, data.inputs, data.fidelities, data.inputs, data.fidelities)
    noise = draws.noise[:, data.fidelities] + data.evaluation + JITTER
    matrix.diagonal(dim1=1, dim2=2).add_(noise)
    root = torch.linalg.cholesky(matrix)
    values = data.values.expand(len(draws), -1, -1)
    white = torch.linalg.solve_triangular(root, values, upper=False)
    return root, white, white.square().sum(dim=1)
