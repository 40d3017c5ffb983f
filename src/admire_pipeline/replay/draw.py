"""Functions drawn from the posterior of the metrics of a run table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from admire_pipeline.replay.emulator import (
    LEVEL_VARIANCE,
    REVISION,
    MetricModel,
    embed,
    matern,
    rows_of,
)
from admire_pipeline.replay.table import RunTable

_FEATURES = 1024


class Draw:
    """One function of each of ``P`` metrics, drawn from their posteriors given all runs.

    By pathwise conditioning (Wilson et al. 2020, "Efficiently sampling functions from Gaussian
    process posteriors"): a draw from the prior in random Fourier features of the Matern part
    (Rahimi and Recht 2007), plus the exact update by its residuals at the runs, each residual with
    a draw of its noise. The same features serve all fidelities, mixed by a root of ``B``.

    Args:
        table: The runs.
        metrics: ``P`` names.
        models: Their fits.
        seed: Another one draws other functions.
    """

    def __init__(
        self, table: RunTable, metrics: Sequence[str], models: Sequence[MetricModel], seed: int
    ) -> None:
        self.models = tuple(models)
        self._paths = []
        for metric, model in zip(metrics, models, strict=True):
            rng = np.random.default_rng([seed, table.metrics.index(metric), REVISION])
            self._paths.append(_Path(model, *rows_of(table, metric), rng))

    def __call__(self, mixtures: Tensor, fidelity: int) -> Tensor:
        """Return the noise-free metrics (``n x P``) of mixtures (``n x K``), differentiably."""
        inputs = embed(mixtures)
        values = [
            model.location[fidelity] + model.scale[fidelity] * path(inputs, fidelity)
            for model, path in zip(self.models, self._paths, strict=True)
        ]
        return torch.stack(values, dim=-1)

    def noise(self, fidelity: int) -> np.ndarray:
        """Return the standard deviations (``P``) of a run's metrics at a fidelity."""
        return np.array([m.scale[fidelity] * m.noise[fidelity] ** 0.5 for m in self.models])


class _Path:
    """One standardised function of the embedded mixture and the fidelity."""

    def __init__(
        self,
        model: MetricModel,
        mixtures: np.ndarray,
        fidelities: np.ndarray,
        values: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self._model = model
        self._inputs = embed(torch.from_numpy(mixtures))
        self._where = torch.from_numpy(fidelities)
        self._coregion = torch.tensor(model.coregion, dtype=torch.float64)
        domains, count = mixtures.shape[1], len(model.noise)
        # The spectral density of Matern-5/2 is Student's t with 5 degrees of freedom.
        normals = rng.standard_normal((_FEATURES, domains)) / model.lengthscale
        student = normals * np.sqrt(5 / rng.chisquare(5, (_FEATURES, 1)))
        self._frequencies = torch.from_numpy(student)
        self._phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, _FEATURES))
        root = np.linalg.cholesky(np.array(model.coregion) + 1e-9 * np.eye(count))
        weights = rng.standard_normal((_FEATURES + domains, count)) @ root.T
        self._weights = torch.from_numpy(weights)
        self._levels = torch.from_numpy(rng.standard_normal(count) * LEVEL_VARIANCE**0.5)
        location, scale, noise = map(np.array, (model.location, model.scale, model.noise))
        prior = self._features(self._inputs) @ self._weights + self._levels
        rows = torch.arange(len(values))
        residuals = (values - location[fidelities]) / scale[fidelities]
        residuals -= prior[rows, self._where].numpy()
        residuals -= rng.standard_normal(len(values)) * np.sqrt(noise[fidelities])
        kernel = self._kernel(self._inputs, self._coregion[self._where][:, self._where])
        kernel = kernel + LEVEL_VARIANCE * (self._where[:, None] == self._where)
        factor = cho_factor(kernel.numpy() + np.diag(noise[fidelities]), lower=True)
        self._update = torch.from_numpy(cho_solve(factor, residuals))

    def __call__(self, inputs: Tensor, fidelity: int) -> Tensor:
        """The values (``n``) at embedded mixtures (``n x K``)."""
        prior = self._features(inputs) @ self._weights[:, fidelity] + self._levels[fidelity]
        kernel = self._kernel(inputs, self._coregion[fidelity][self._where])
        kernel = kernel + LEVEL_VARIANCE * (self._where == fidelity)
        return prior + kernel @ self._update

    def _features(self, inputs: Tensor) -> Tensor:
        waves = torch.cos(inputs @ self._frequencies.T + self._phases)
        waves = waves * (2 * self._model.smooth / _FEATURES) ** 0.5
        return torch.cat([waves, inputs * self._model.linear**0.5], dim=-1)

    def _kernel(self, inputs: Tensor, coregion: Tensor) -> Tensor:
        model = self._model
        distances = torch.cdist(inputs, self._inputs, compute_mode="donot_use_mm_for_euclid_dist")
        smooth = model.smooth * matern(distances / model.lengthscale)
        return (model.linear * inputs @ self._inputs.T + smooth) * coregion
