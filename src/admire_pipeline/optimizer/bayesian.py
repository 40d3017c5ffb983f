"""Policies with a surrogate: ours, and the published ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.sampling import SobolQMCNormalSampler

from admire_pipeline.optimizer.acquisition import MaxValueEntropy, TargetMean, sample_maxima
from admire_pipeline.optimizer.design import next_design_point
from admire_pipeline.optimizer.policy import Policy, Proposal, Recommendation, trial_rng
from admire_pipeline.optimizer.search import Ranking, candidates, maximise
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.surrogate import (
    Surrogate,
    fit_coregional,
    fit_multifidelity,
    fit_target,
)
from admire_pipeline.optimizer.trials import Trials

_CANDIDATES = 250
_INCUMBENTS = 3
_MAXIMA = 16
_SAMPLES = 128
# Predictions closer than this fraction of the spread of scores are equal.
_TIE = 1e-4


class BayesianPolicy(Policy):
    """Set-up design, then the acquisition function's maximum; recommends the posterior mean's."""

    target_only = False

    @abstractmethod
    def fit(self, space: Space, seen: Trials) -> Surrogate:
        """Fit the surrogate to at least one observed trial."""

    @abstractmethod
    def acquisitions(
        self, space: Space, surrogate: Surrogate, candidates: np.ndarray
    ) -> Iterator[tuple[int, AcquisitionFunction, float]]:
        """Yield fidelity positions, each with the acquisition function of trials there.

        The third item is what its values are divided by to compare fidelities. It is no part of
        the function: a climb must not depend on the unit of cost.

        Args:
            space: The campaign's space.
            surrogate: The fitted model, pending trials accounted for.
            candidates: ``n x K`` mixtures that cover the simplex and the best of it closely.
        """

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Choose the next design point, or else the best value over fidelities and mixtures."""
        trials = self._relevant(space, trials)
        seen = trials.where(trials.observed)
        if len(trials) < self.settings.design_trials or not len(seen):
            point, fidelity = next_design_point(space, trials, seed, target_only=self.target_only)
            return self._proposal(space, point, fidelity, phase="design")
        rng = trial_rng(seed, trials)
        with _torch_seed(rng):
            surrogate = self.fit(space, seen)
            points = _best_predicted(space, surrogate, seen, rng).mixtures
            near = candidates(space.mixtures, points[:_INCUMBENTS], _CANDIDATES, rng)
            points = np.vstack([points, near])
            surrogate.believe(trials.where(trials.pending))
            best: tuple[float, np.ndarray, int] | None = None
            for fidelity, acquisition, cost in self.acquisitions(space, surrogate, points):
                ranking = maximise(acquisition, space.mixtures, points)
                new = (not trials.holds(mixture, fidelity) for mixture in ranking.mixtures)
                index = next((i for i, is_new in enumerate(new) if is_new), None)
                if index is None:
                    continue
                value = float(ranking.values[index]) / cost
                if best is None or value > best[0]:
                    best = (value, ranking.mixtures[index], fidelity)
        if best is None:
            # No mixture is left to try (the bounds leave hardly any): repeat at the target.
            best = (0.0, points[0], surrogate.target)
        value, mixture, fidelity = best
        return self._proposal(
            space,
            mixture,
            fidelity,
            phase="search",
            acquisition_value=value,
            based_on=seen.names,
        )

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Return the mixture of the best posterior mean, tried or not.

        In the set-up phase the surrogate knows too little to be trusted with a mixture that was
        never tried: its best one is worse than a random mixture as often as not. There the best of
        those tried at the target is returned, or of all while none is.
        """
        trials = self._relevant(space, trials)
        seen = trials.where(trials.observed)
        if not len(seen):
            return None
        tried = seen.feasible(space)
        set_up = len(tried) > 0 and len(seen) <= self.settings.design_trials
        if set_up and (at_target := tried.fidelities == len(space.fidelities) - 1).any():
            tried = tried.where(at_target)
        rng = trial_rng(seed, trials)
        with _torch_seed(rng):
            surrogate = self.fit(space, seen)
            options = tried.mixtures
            if not set_up:
                options = np.vstack([options, _best_predicted(space, surrogate, seen, rng).best])
        means, _ = surrogate.predict(options)
        # Among equals, as where the climb ends on a trial, the largest and latest trial.
        ties = np.flatnonzero(means[: len(tried)] >= means.max() - _TIE * surrogate.scale)
        if not len(ties):
            return _recommendation(space, surrogate, options[-1], None)
        last = max(ties, key=lambda i: (tried.fidelities[i], i))
        return _recommendation(space, surrogate, options[last], tried.names[last])

    def _relevant(self, space: Space, trials: Trials) -> Trials:
        """Leave out trials that the surrogate cannot use."""
        if self.target_only:
            return trials.where(trials.fidelities == len(space.fidelities) - 1)
        return trials


class Admire(BayesianPolicy):
    """Our policy: coregionalized fidelities, max-value entropy search per unit cost."""

    name = "admire"

    def fit(self, space: Space, seen: Trials) -> Surrogate:
        """Fit square roots of weights with learned correlations between fidelities."""
        return fit_coregional(space, seen)

    def acquisitions(
        self, space: Space, surrogate: Surrogate, candidates: np.ndarray
    ) -> Iterator[tuple[int, AcquisitionFunction, float]]:
        """Yield the information about the target's maximum and the cost of each fidelity."""
        maxima = sample_maxima(surrogate, torch.from_numpy(candidates), _MAXIMA)
        for position, fidelity in enumerate(space.fidelities):
            yield position, MaxValueEntropy(surrogate, position, maxima), fidelity.cost


class AdmireMfbo(Admire):
    """The published multi-fidelity surrogate, searched in the same way."""

    name = "admire-mfbo"

    def fit(self, space: Space, seen: Trials) -> Surrogate:
        """Fit BoTorch's multi-fidelity GP on raw weights and cost ratios."""
        return fit_multifidelity(space, seen)


class AdmireBo(BayesianPolicy):
    """Single-fidelity search: a default GP on raw weights and expected improvement."""

    name = "admire-bo"
    target_only = True

    def fit(self, space: Space, seen: Trials) -> Surrogate:
        """Fit BoTorch's default GP to the target's trials."""
        return fit_target(space, seen)

    def acquisitions(
        self, space: Space, surrogate: Surrogate, candidates: np.ndarray
    ) -> Iterator[tuple[int, AcquisitionFunction, float]]:
        """Yield the logarithm of the expected improvement at the target."""
        sampler = SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=0)
        best = surrogate.model.train_targets.max()
        yield surrogate.target, qLogExpectedImprovement(surrogate.model, best, sampler), 1.0


def _best_predicted(
    space: Space, surrogate: Surrogate, seen: Trials, rng: np.random.Generator
) -> Ranking:
    """Rank mixtures all over the simplex, the climbed maxima first, by the target's mean."""
    around = seen.feasible(space).mixtures
    if len(around):
        means, _ = surrogate.predict(around)
        around = around[np.argsort(-means, kind="stable")[:_INCUMBENTS]]
    cover = candidates(space.mixtures, around, _CANDIDATES, rng)
    return maximise(TargetMean(surrogate), space.mixtures, cover)


def _recommendation(
    space: Space, surrogate: Surrogate, mixture: np.ndarray, trial: str | None
) -> Recommendation:
    mixture = space.mixtures.project(mixture)
    mean, deviation = surrogate.predict(mixture[None])
    return Recommendation(mixture, float(mean[0]), float(deviation[0]), trial)


@contextmanager
def _torch_seed(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global random state for a while, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        yield
