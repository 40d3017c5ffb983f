"""Problems over the whole simplex whose truth is known: functions drawn from a fitted surrogate."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from admire_pipeline.disk import read_cached, write_atomically
from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Space
from admire_pipeline.replay.code import table_hash
from admire_pipeline.replay.draw import Draw
from admire_pipeline.replay.emulator import REVISION, cached_fit
from admire_pipeline.replay.problem import Evaluation, Problem, objective_weights
from admire_pipeline.replay.table import RunTable

_RANDOM = 2000
_STARTS = 16
_ITERATIONS = 300
_CHUNK = 500


class SimulatorProblem(Problem):
    """Functions that a table's runs might have come from, with their noise.

    A surrogate is fitted to each metric of the objective (``emulator``), and with each seed a
    function of the mixture and the fidelity is drawn from it, given all runs of the table: those
    held out of the pool too. A run gives the metrics there plus noise, independent between metrics
    and runs, of the variance that was fitted at its fidelity. Regret is by the functions
    themselves. Their best is found from many random mixtures by climbs; a random pick is one of
    the table's target mixtures, as a uniform draw from a simplex of many domains is always near
    its centre, which is no pick anyone makes.

    Args:
        table: The runs.
        objective: A name from ``table.objectives()``.
        seed: Another one is another function.
        cache: Folder for what takes long: fits and maxima.

    Attributes:
        draw: The true metrics of mixtures at a fidelity.

    Raises:
        UserError: If the table has no such objective.
    """

    def __init__(self, table: RunTable, objective: str, seed: int, cache: Path) -> None:
        weights = objective_weights(table, objective)
        models = [cached_fit(table, metric, fit_path(table, metric, cache)) for metric in weights]
        self.draw = Draw(table, list(weights), models, seed)
        self._weights = torch.tensor(list(weights.values()), dtype=torch.float64)
        self._target = len(table.fidelities) - 1
        space = Space(MixtureSpace(table.domains), table.fidelities, objective=weights)
        mixtures = table.mixtures(self._target)
        key = _key(table_hash(table), "maximum", json.dumps(dict(weights)), str(seed))
        best = self._best(mixtures, np.random.default_rng([seed, REVISION]), cache / f"{key}.json")
        super().__init__(space, best, float(self._scores(mixtures).mean()))

    def evaluate(self, mixture: np.ndarray, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """Run a mixture of the simplex, with noise."""
        with torch.no_grad():
            metrics = self.draw(torch.from_numpy(mixture[None]), fidelity)[0].numpy()
        metrics = metrics + self.draw.noise(fidelity) * rng.standard_normal(len(metrics))
        unknown = np.full(len(metrics), np.nan)
        return Evaluation(float(self._weights.numpy() @ metrics), metrics, unknown)

    def truth(self, mixture: np.ndarray) -> float:
        """Return the score without noise."""
        return float(self._scores(mixture[None])[0])

    def _scores(self, mixtures: np.ndarray) -> np.ndarray:
        """True scores (``n``) of mixtures (``n x K``) at the target."""
        with torch.no_grad():
            return np.concatenate(
                [
                    (self.draw(chunk, self._target) @ self._weights).numpy()
                    for chunk in torch.from_numpy(np.ascontiguousarray(mixtures)).split(_CHUNK)
                ]
            )

    def _best(self, known: np.ndarray, rng: np.random.Generator, path: Path) -> float:
        """The maximum over the simplex, from its file where there is one."""
        if (cached := read_cached(path)) is not None:
            return float(cached["score"])
        space = MixtureSpace(tuple(map(str, range(known.shape[1]))))
        tried = np.vstack([known, space.sample(_RANDOM, rng), space.spread(_RANDOM, rng)])
        scores = self._scores(tried)
        starts = tried[np.argsort(-scores)[:_STARTS]]
        climbed = self._climb(starts)
        ends = self._scores(climbed)
        index = int(np.argmax(ends))
        score, mixture = max(float(scores.max()), float(ends[index])), climbed[index]
        write_atomically(path, json.dumps({"score": score, "mixture": mixture.tolist()}))
        return score

    def _climb(self, starts: np.ndarray) -> np.ndarray:
        """Climb from mixtures (``n x K``), all at once; weights are squares, so stay feasible."""
        scale = float(np.abs(self._scores(starts)).max()) or 1.0

        def mixtures_of(roots: torch.Tensor) -> torch.Tensor:
            squares = roots.reshape(starts.shape) ** 2
            return squares / squares.sum(dim=-1, keepdim=True)

        def loss(raw: np.ndarray) -> tuple[float, np.ndarray]:
            roots = torch.tensor(raw, requires_grad=True)
            scores = self.draw(mixtures_of(roots), self._target) @ self._weights
            value = -scores.sum() / scale
            (gradient,) = torch.autograd.grad(value, roots)
            return float(value.detach()), gradient.numpy()

        # A root of 0 has no slope to leave by.
        raw = np.sqrt(np.maximum(starts, 1e-4)).ravel()
        options = {"maxiter": _ITERATIONS, "maxfun": 2 * _ITERATIONS, "ftol": 1e-12}
        found = minimize(loss, raw, jac=True, method="L-BFGS-B", options=options)
        return np.asarray(mixtures_of(torch.from_numpy(found.x)).numpy())


def fit_path(table: RunTable, metric: str, cache: Path) -> Path:
    """Return the file of a metric's fit."""
    return cache / f"{_key(table_hash(table), 'fit', metric)}.json"


def save_fit(table: RunTable, cache: Path, metric: str) -> None:
    """Fit a metric where its file is not there yet."""
    cached_fit(table, metric, fit_path(table, metric, cache))


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join([*parts, str(REVISION)]).encode()).hexdigest()[:20]
