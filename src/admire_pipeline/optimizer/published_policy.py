"""What the published policies share: one random trial, then the best acquisition value."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.exceptions.errors import BotorchError
from botorch.models import SingleTaskMultiFidelityGP
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

from admire_pipeline.optimizer.numerics import eager, quiet, torch_seed
from admire_pipeline.optimizer.policy import (
    NothingToPropose,
    Policy,
    PolicySettings,
    Proposal,
    Recommendation,
    trial_rng,
)
from admire_pipeline.optimizer.pool import find_trial, untried
from admire_pipeline.optimizer.published_model import (
    at_fidelity,
    encode,
    evaluate,
    finite,
    fit_model,
    predict,
)
from admire_pipeline.optimizer.search import candidates, maximise
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials

# What linear algebra and BoTorch raise when a model is too ill-conditioned to be evaluated.
NUMERICAL_ERRORS = (BotorchError, NanError, NotPSDError, RuntimeError, ValueError)
# Mixtures of each kind from which a climb over the simplex may start.
_CANDIDATES = 250
_INCUMBENTS = 3
# A climb hardly ever gains more than this factor.
_MOST_GAIN = 2.0

# Value, mixture and fidelity of a proposal.
_Found = tuple[float, np.ndarray, int]


@dataclass(frozen=True)
class Fitted:
    """A model fitted to the trials so far, and the acquisition function on it.

    Attributes:
        model: BoTorch's multi-fidelity GP on weights and one column, the cost ratio.
        acquisition: The acquisition function, over ``b x 1 x (K + 1)`` such inputs.
    """

    model: SingleTaskMultiFidelityGP
    acquisition: AcquisitionFunction


class PublishedPolicy(Policy):
    """One random trial first, then the best value of an acquisition function on BoTorch's model.

    The model of the last call is kept, because a campaign recommends and proposes on the same
    trials in turn and the official code fits once for both; it changes no answer.
    """

    def __init__(self, settings: PolicySettings) -> None:
        super().__init__(settings)
        self._last: tuple[tuple[object, ...], Space, Fitted | None] | None = None

    @abstractmethod
    def searched(self, space: Space) -> list[int]:
        """Return the positions of the fidelities to try, the one to start from first."""

    @abstractmethod
    def acquisition(
        self, space: Space, model: SingleTaskMultiFidelityGP, pending: Tensor | None
    ) -> AcquisitionFunction:
        """Return the acquisition function over inputs (``b x 1 x (K + 1)``).

        Args:
            space: The campaign's space.
            model: The fitted model.
            pending: ``m x (K + 1)`` inputs of pending trials, None if there are none.
        """

    @abstractmethod
    def preference(self, fitted: Fitted) -> AcquisitionFunction:
        """Return what a recommendation maximises at the target, over the same inputs."""

    @eager()
    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Choose the best acquisition value over everything that was not tried yet."""
        trials = self._relevant(space, trials)
        fidelities = self._proposable(space, self.searched(space))
        rng = trial_rng(seed, trials)
        fitted = self._fit(space, trials, seed)
        found = self._best(space, trials, fitted, fidelities, rng) if fitted is not None else None
        if found is None:
            mixture, fidelity = self._random(space, trials, fidelities, rng)
            return self._proposal(space, mixture, fidelity, phase="design")
        value, mixture, fidelity = found
        return self._proposal(
            space,
            mixture,
            fidelity,
            phase="search",
            acquisition_value=value,
            based_on=trials.where(trials.observed).names,
        )

    @eager()
    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Return the mixture that the policy prefers at the target, tried or not."""
        trials = self._relevant(space, trials)
        fitted = self._fit(space, trials, seed)
        if fitted is None:
            return None
        target = len(space.fidelities) - 1
        preference = at_fidelity(space, self.preference(fitted), target)
        try:
            if space.pools:
                pool = space.pools[target]
                mixture = pool[int(np.argmax(evaluate(preference, pool)))]
            else:
                points = self._points(space, trials, trial_rng(seed, trials))
                with torch_seed(trial_rng(seed, trials)):
                    mixture = maximise(
                        preference, space.mixtures, points, together=True, unit=1.0
                    ).best
                mixture = space.mixtures.project(mixture)
            mean, deviation = predict(space, fitted.model, mixture)
        except NUMERICAL_ERRORS:
            return _best_observed(space, trials)
        return Recommendation(mixture, mean, deviation, find_trial(trials, mixture))

    def _relevant(self, space: Space, trials: Trials) -> Trials:
        """Leave out trials at fidelities that are not searched."""
        return trials.where(np.isin(trials.fidelities, self.searched(space)))

    def _fit(self, space: Space, trials: Trials, seed: int) -> Fitted | None:
        """Fit the model and set up the acquisition function; None where nothing is observed."""
        if not trials.observed.any():
            return None
        arrays = (trials.mixtures, trials.fidelities, trials.scores)
        key = (id(space), seed, *(array.tobytes() for array in arrays))
        if self._last is None or self._last[0] != key:
            # The space is kept too, so that no other one can have its id.
            self._last = (key, space, self._fit_anew(space, trials, seed))
        return self._last[2]

    def _fit_anew(self, space: Space, trials: Trials, seed: int) -> Fitted | None:
        seen = trials.where(trials.observed)
        # Failed ones too: BoTorch would propose their neighbours again and again.
        unseen = trials.where(~trials.observed)
        with torch_seed(trial_rng(seed, trials)):
            try:
                model = fit_model(encode(space, seen), torch.from_numpy(seen.scores))
                inputs = encode(space, unseen) if len(unseen) else None
                with quiet():
                    return Fitted(model, self.acquisition(space, model, inputs))
            except NUMERICAL_ERRORS:
                return None

    def _best(
        self,
        space: Space,
        trials: Trials,
        fitted: Fitted,
        fidelities: list[int],
        rng: np.random.Generator,
    ) -> _Found | None:
        """Return the best proposal, None where none has a value."""
        if not space.pools:
            return self._climb(space, trials, fitted, fidelities, rng)
        best: _Found | None = None
        for fidelity in fidelities:
            mixtures = untried(space, trials, fidelity)
            try:
                values = evaluate(at_fidelity(space, fitted.acquisition, fidelity), mixtures)
            except NUMERICAL_ERRORS:
                continue
            best = _better(best, values, mixtures, fidelity)
        return best

    def _climb(
        self,
        space: Space,
        trials: Trials,
        fitted: Fitted,
        fidelities: list[int],
        rng: np.random.Generator,
    ) -> _Found | None:
        """Return the best proposal of the simplex, climbing from mixtures all over it.

        Climbs are slow, and of one function at several fidelities they gain about the same factor:
        only those fidelities are climbed whose starting points are not too far below the best.
        """
        points = self._points(space, trials, rng)
        heads = {}
        for fidelity in fidelities:
            with suppress(*NUMERICAL_ERRORS):
                values = evaluate(at_fidelity(space, fitted.acquisition, fidelity), points)
                heads[fidelity] = float(values.max())
        best: _Found | None = None
        for fidelity in sorted(heads, key=lambda fidelity: -heads[fidelity]):
            if best is not None and 0 < _MOST_GAIN * heads[fidelity] < best[0]:
                continue
            acquisition = at_fidelity(space, fitted.acquisition, fidelity)
            with suppress(*NUMERICAL_ERRORS), torch_seed(rng):
                ranking = maximise(acquisition, space.mixtures, points, together=True, unit=1.0)
                new = ~trials.holds(ranking.mixtures, fidelity)
                values = finite(ranking.values[new])
                best = _better(best, values, ranking.mixtures[new], fidelity)
        return best

    def _random(
        self, space: Space, trials: Trials, fidelities: list[int], rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Draw a trial at the fidelity to start from, or at the next one that has any left."""
        if not space.pools:
            return space.mixtures.sample(1, rng)[0], fidelities[0]
        for fidelity in fidelities:
            if len(mixtures := untried(space, trials, fidelity)):
                return mixtures[int(rng.integers(len(mixtures)))], fidelity
        raise NothingToPropose(f"{self.name}: every mixture of the pools was tried")

    def _points(self, space: Space, trials: Trials, rng: np.random.Generator) -> np.ndarray:
        """Cover the simplex (``n x K``), closely around the best trials."""
        seen = trials.where(trials.observed).feasible(space)
        around = seen.mixtures[np.argsort(-seen.scores, kind="stable")[:_INCUMBENTS]]
        return candidates(space.mixtures, around, _CANDIDATES, rng)


def _better(
    best: _Found | None, values: np.ndarray, mixtures: np.ndarray, fidelity: int
) -> _Found | None:
    """Return the better of the best so far and these values (``n``), the earlier if equal."""
    if not len(values):
        return best
    index = int(np.argmax(values))
    value = float(values[index])
    if not np.isfinite(value) or (best is not None and value <= best[0]):
        return best
    return value, mixtures[index], fidelity


def _best_observed(space: Space, trials: Trials) -> Recommendation | None:
    """Return the best trial of the largest size observed: where the model cannot be evaluated."""
    seen = trials.where(trials.observed)
    seen = seen.where(seen.fidelities == seen.fidelities.max())
    if space.pools:
        pool = {mixture.tobytes() for mixture in space.pools[-1]}
        seen = seen.where(np.array([m.tobytes() in pool for m in seen.mixtures], dtype=bool))
    else:
        seen = seen.feasible(space)
    if not len(seen):
        return None
    i = int(np.argmax(seen.scores))
    return Recommendation(seen.mixtures[i], float(seen.scores[i]), float("nan"), seen.names[i])
