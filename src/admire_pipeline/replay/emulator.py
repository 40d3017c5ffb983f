"""A Gaussian process of each metric, fitted to a whole run table.

It shares no code with the policies' surrogate, so that a policy's model is not the truth that it is
tried on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from admire_pipeline.disk import read_cached, write_atomically
from admire_pipeline.replay.table import RunTable

REVISION = 1
"""Of what is fitted and drawn: a change makes other functions."""

_FLOOR = 1e-4  # the square root has no slope at 0
_FIT_ROWS = 300
_TARGET_ROWS = 150
_LEAST_NOISE = 1e-4

LEVEL_VARIANCE = 4.0
"""Of the unknown level of each fidelity, standardised."""

# Weak normal priors (mean, standard deviation) of the logarithms, for standardised metrics.
_LINEAR, _SMOOTH, _LENGTHSCALE = (2.0, 1.5), (0.0, 1.5), (-0.7, 1.0)
_NOISE, _SPREAD = (-3.0, 2.0), (0.0, 0.3)
_ENTRY = (1.0, 2.0)  # of the correlations' triangle, not of its logarithm


@dataclass(frozen=True)
class MetricModel:
    """How one metric depends on the mixture at ``M`` fidelities, in standardised units.

    Covariance of the mixtures ``w, w'`` at fidelities ``m, m'``, with ``x`` the embedded mixture::

        (linear x.x' + smooth Matern52(|x - x'| / lengthscale)) B[m, m'] + 4 [m = m']

    Attributes:
        linear: Variance of the linear part.
        smooth: Variance of the Matern-5/2 part.
        lengthscale: Its lengthscale, in units of the embedding.
        coregion: ``M x M`` covariances ``B`` between fidelities.
        noise: ``M`` noise variances.
        location: ``M`` means of the metric.
        scale: ``M`` standard deviations of the metric.
    """

    linear: float
    smooth: float
    lengthscale: float
    coregion: list[list[float]]
    noise: list[float]
    location: list[float]
    scale: list[float]


def embed(mixtures: Tensor) -> Tensor:
    """Return the square roots of weights (``... x K``), less those of equal weights."""
    centre = (1 / mixtures.shape[-1] + _FLOOR) ** 0.5
    return (mixtures.clamp_min(0) + _FLOOR).sqrt() - centre


def rows_of(table: RunTable, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mixtures (``n x K``), fidelities (``n``) and values (``n``) of a metric's runs."""
    column = table.metrics.index(metric)
    parts = []
    for position in range(len(table.fidelities)):
        values = table.values(position)[:, column]
        kept = np.isfinite(values)
        where = np.full(int(kept.sum()), position)
        parts.append((table.mixtures(position)[kept], where, values[kept]))
    mixtures, fidelities, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mixtures, fidelities, values


def fit_metric(table: RunTable, metric: str) -> MetricModel:
    """Fit a metric by its marginal likelihood (times weak priors) on up to 300 of its runs.

    Args:
        table: The runs.
        metric: Its name.
    """
    mixtures, fidelities, values = rows_of(table, metric)
    count = len(table.fidelities)
    location, scale = _standardisation(fidelities, values, count)
    chosen = _subset(fidelities, count)
    inputs = embed(torch.from_numpy(mixtures[chosen]))
    where = torch.from_numpy(fidelities[chosen])
    scores = torch.from_numpy(((values - location[fidelities]) / scale[fidelities])[chosen])
    entries = count * (count - 1) // 2
    medians = [_LINEAR[0], _SMOOTH[0], _LENGTHSCALE[0], *[_SPREAD[0]] * count, *[_NOISE[0]] * count]
    deviations = [_LINEAR[1], _SMOOTH[1], _LENGTHSCALE[1], *[_SPREAD[1]] * count]
    deviations += [*[_NOISE[1]] * count, *[_ENTRY[1]] * entries]
    prior = torch.tensor([*medians, *[_ENTRY[0]] * entries]), torch.tensor(deviations)
    distances, products = torch.cdist(inputs, inputs), inputs @ inputs.T

    def loss(raw: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.tensor(raw, requires_grad=True)
        linear, smooth, lengthscale, coregion, noise = _unpack(parameters, count)
        covariance = linear * products + smooth * matern(distances / lengthscale)
        covariance = covariance * coregion[where[:, None], where]
        covariance = covariance + LEVEL_VARIANCE * (where[:, None] == where)
        factor = torch.linalg.cholesky(covariance + torch.diag(noise[where]))
        white = torch.linalg.solve_triangular(factor, scores[:, None], upper=False)
        value = 0.5 * (white**2).sum() + factor.diagonal().log().sum()
        value = value + 0.5 * (((parameters - prior[0]) / prior[1]) ** 2).sum()
        (gradient,) = torch.autograd.grad(value, parameters)
        return float(value.detach()), gradient.numpy()

    # Two starts: sizes that agree with the target, and sizes that rank the other way round.
    starts = [np.array([*medians, *[first] * entries]) for first in (_ENTRY[0], -2.0)]
    bounds = [(m - 4 * d, m + 4 * d) for m, d in zip(*map(Tensor.tolist, prior), strict=True)]
    fits = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 150})
        for start in starts[: min(2, count)]
    ]
    best = torch.from_numpy(min(fits, key=lambda fit: fit.fun).x)
    linear, smooth, lengthscale, coregion, noise = _unpack(best, count)
    return MetricModel(
        float(linear),
        float(smooth),
        float(lengthscale),
        coregion.tolist(),
        noise.tolist(),
        location.tolist(),
        scale.tolist(),
    )


def cached_fit(table: RunTable, metric: str, path: Path) -> MetricModel:
    """Read a fit from its file; make both where there is none."""
    if (cached := read_cached(path)) is not None:
        return MetricModel(**cached)
    model = fit_metric(table, metric)
    write_atomically(path, json.dumps(asdict(model)))
    return model


def matern(distance: Tensor) -> Tensor:
    """Return the Matern-5/2 correlation at distances in lengthscales (any shape)."""
    scaled = 5**0.5 * distance
    return (1 + scaled + scaled**2 / 3) * torch.exp(-scaled)


def _unpack(parameters: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Linear and smooth variance, lengthscale, covariances of fidelities, noise variances."""
    logs, entries = parameters[: 3 + 2 * count], parameters[3 + 2 * count :]
    positive = logs.exp()
    rows, columns = torch.tril_indices(count, count, -1)
    triangle = torch.eye(count, dtype=torch.float64).index_put((rows, columns), entries)
    # The target is the first row, so that the first column holds the correlations with it.
    root = torch.nn.functional.normalize(triangle, dim=-1).flip(0)
    root = root * positive[3 : 3 + count, None]
    noise = positive[3 + count :] + _LEAST_NOISE
    return positive[0], positive[1], positive[2], root @ root.T, noise


def _standardisation(
    fidelities: np.ndarray, values: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the metric at each fidelity; those of the target where it has no runs."""
    location, scale = np.zeros(count), np.ones(count)
    for position in reversed(range(count)):
        at = values[fidelities == position]
        location[position] = at.mean() if len(at) else location[-1]
        spread = at.std() if len(at) else scale[-1]
        # A metric that is always the same is a constant function of any scale.
        scale[position] = spread if spread > 1e-12 * max(1.0, abs(location[position])) else 1.0
    return location, scale


def _subset(fidelities: np.ndarray, count: int) -> np.ndarray:
    """Runs to fit to: the target's, then as many of each other size, the same each time."""
    rng = np.random.default_rng(0)
    chosen: list[np.ndarray] = []
    left = min(_FIT_ROWS, len(fidelities))
    for position in reversed(range(count)):
        members = np.flatnonzero(fidelities == position)
        share = min(_TARGET_ROWS, left) if position == count - 1 else left // (position + 1)
        chosen.append(rng.permutation(members)[:share])
        left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))
