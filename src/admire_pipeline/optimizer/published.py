"""The published policies, as their authors ran them: the baselines to beat.

ADMIRE-BayesOpt by its official code (github.com/xo28/ADMIRE-BayesOpt, commit da634d45:
``mfbayesopt_maxvalue.py`` and ``bayesopt_thepile.py``), which ran on BoTorch 0.10; see
``published_model`` for what has changed since. What that code leaves open is settled here: the
random stream is that of our campaigns; trials that have failed are not tried again; pending ones
enter as BoTorch offers (fantasies for entropy search, joint improvement for the other); where a fit
or an acquisition function breaks down numerically, start values or a random trial serve; and
without pools the same acquisition function is maximised over the whole simplex.

The official script for single-fidelity search on the Tulu table pairs the target's scores with
mixtures of the smallest size (the first rows of ``X_train_high`` there are of the wrong block).
That is taken for a slip: here, as in the script for the Pile, mixtures and scores belong together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction, PosteriorMean
from botorch.acquisition.cost_aware import GenericCostAwareUtility
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.exceptions.errors import BotorchError
from botorch.models import SingleTaskMultiFidelityGP
from botorch.sampling import SobolQMCNormalSampler
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

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
from admire_pipeline.optimizer.surrogate import quiet
from admire_pipeline.optimizer.trials import Trials

# What linear algebra and BoTorch raise when a model is too ill-conditioned to be evaluated.
NUMERICAL_ERRORS = (BotorchError, NanError, NotPSDError, RuntimeError, ValueError)
# Mixtures of each kind from which a climb over the simplex may start.
_CANDIDATES = 250
_SAMPLES = 512
_MIN_COST = 0.01
_INCUMBENTS = 3


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
    """What both published policies share: one random trial first, then the best acquisition value.

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

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Choose the best acquisition value over everything that was not tried yet."""
        trials = self._relevant(space, trials)
        rng = trial_rng(seed, trials)
        fitted = self._fit(space, trials, seed)
        if fitted is not None:
            found = self._best(space, trials, fitted, rng)
            if found is not None:
                value, mixture, fidelity = found
                return self._proposal(
                    space,
                    mixture,
                    fidelity,
                    phase="search",
                    acquisition_value=value,
                    based_on=trials.where(trials.observed).names,
                )
        mixture, fidelity = self._random(space, trials, rng)
        return self._proposal(space, mixture, fidelity, phase="design")

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
                with _torch_seed(trial_rng(seed, trials)):
                    mixture = maximise(preference, space.mixtures, points).best
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
        arrays = (trials.mixtures, trials.fidelities, trials.scores, trials.pending)
        key = (id(space), seed, *(array.tobytes() for array in arrays))
        if self._last is None or self._last[0] != key:
            # The space is kept too, so that no other one can have its id.
            self._last = (key, space, self._fit_anew(space, trials, seed))
        return self._last[2]

    def _fit_anew(self, space: Space, trials: Trials, seed: int) -> Fitted | None:
        seen = trials.where(trials.observed)
        pending = trials.where(trials.pending)
        rng = trial_rng(seed, trials)
        with _torch_seed(rng):
            try:
                model = fit_model(encode(space, seen), torch.from_numpy(seen.scores))
                inputs = encode(space, pending) if len(pending) else None
                with quiet():
                    return Fitted(model, self.acquisition(space, model, inputs))
            except NUMERICAL_ERRORS:
                return None

    def _best(
        self, space: Space, trials: Trials, fitted: Fitted, rng: np.random.Generator
    ) -> tuple[float, np.ndarray, int] | None:
        """Return value, mixture and fidelity of the best proposal, None where none has a value."""
        best: tuple[float, np.ndarray, int] | None = None
        points = None if space.pools else self._points(space, trials, rng)
        for fidelity in self.searched(space):
            acquisition = at_fidelity(space, fitted.acquisition, fidelity)
            try:
                if points is None:
                    mixtures = untried(space, trials, fidelity)
                    values = evaluate(acquisition, mixtures)
                else:
                    with _torch_seed(rng):
                        ranking = maximise(acquisition, space.mixtures, points)
                    new = [not trials.holds(mixture, fidelity) for mixture in ranking.mixtures]
                    mixtures, values = ranking.mixtures[new], finite(ranking.values[new])
            except NUMERICAL_ERRORS:
                continue
            if not len(values):
                continue
            index = int(np.argmax(values))
            value = float(values[index])
            if np.isfinite(value) and (best is None or value > best[0]):
                best = (value, mixtures[index], fidelity)
        return best

    def _random(
        self, space: Space, trials: Trials, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Draw a trial at the fidelity to start from, or at the next one that has any left."""
        if not space.pools:
            return space.mixtures.sample(1, rng)[0], self.searched(space)[0]
        for fidelity in self.searched(space):
            if len(mixtures := untried(space, trials, fidelity)):
                return mixtures[int(rng.integers(len(mixtures)))], fidelity
        raise NothingToPropose(f"{self.name}: every mixture of the pools was tried")

    def _points(self, space: Space, trials: Trials, rng: np.random.Generator) -> np.ndarray:
        """Cover the simplex (``n x K``), closely around the best trials."""
        seen = trials.where(trials.observed).feasible(space)
        around = seen.mixtures[np.argsort(-seen.scores, kind="stable")[:_INCUMBENTS]]
        return candidates(space.mixtures, around, _CANDIDATES, rng)


class AdmireMfbo(PublishedPolicy):
    """Multi-fidelity max-value entropy search per unit cost (Takeno et al. 2020), as published.

    It starts from one random trial of the smallest size, tries every size and recommends where the
    *acquisition function* is largest at the target, not where the predicted score is.
    """

    name = "admire-mfbo"

    def searched(self, space: Space) -> list[int]:
        """Return all fidelities, the smallest first."""
        return list(range(len(space.fidelities)))

    def acquisition(
        self, space: Space, model: SingleTaskMultiFidelityGP, pending: Tensor | None
    ) -> AcquisitionFunction:
        """Return BoTorch's entropy search with one sample of the maximum over the tried inputs."""
        column = len(space.mixtures)

        def per_cost(inputs: Tensor, gain: Tensor) -> Tensor:
            # BoTorch's own class took costs below 0.01 for 0.01 in release 0.10, and later ones do
            # not; on the Pile, whose smallest size costs 0.001, that is a factor of 10.
            return gain / inputs[..., column].clamp_min(_MIN_COST).sum(dim=-1)

        def project(inputs: Tensor) -> Tensor:
            return project_to_target_fidelity(inputs, {column: 1.0}, column + 1)

        return qMultiFidelityMaxValueEntropy(
            model=model,
            candidate_set=model.train_inputs[0],
            num_mv_samples=1,
            cost_aware_utility=GenericCostAwareUtility(per_cost),
            project=project,
            X_pending=pending,
        )

    def preference(self, fitted: Fitted) -> AcquisitionFunction:
        """Return the acquisition function itself."""
        return fitted.acquisition


class SingleFidelity(PublishedPolicy):
    """Expected improvement at one fidelity, as published; recommends the best posterior mean.

    The model is the multi-fidelity one although its trials are all of one size, so that it also
    predicts the target from a smaller size: that is the paper's zero-shot transfer.
    """

    def position(self, space: Space) -> int:
        """Return the position of the fidelity that is searched: the target."""
        return len(space.fidelities) - 1

    def searched(self, space: Space) -> list[int]:
        """Return the one fidelity."""
        return [self.position(space)]

    def acquisition(
        self, space: Space, model: SingleTaskMultiFidelityGP, pending: Tensor | None
    ) -> AcquisitionFunction:
        """Return the logarithm of the expected improvement on the best score so far."""
        # BoTorch's own sampler, but made now: later its seed would depend on the order of calls.
        sampler = SobolQMCNormalSampler(torch.Size([_SAMPLES]))
        best = model.train_targets.max()
        return qLogExpectedImprovement(model, best, sampler=sampler, X_pending=pending)

    def preference(self, fitted: Fitted) -> AcquisitionFunction:
        """Return the posterior mean."""
        return PosteriorMean(fitted.model)


class AdmireBo(SingleFidelity):
    """Single-fidelity search of the target, as published."""

    name = "admire-bo"


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


@contextmanager
def _torch_seed(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global random state for a while, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        yield
