"""Our policy: what a trial is expected to add to the recommendation, per unit of its cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from admire_pipeline.optimizer.acquisition import (
    MOST,
    Disagreement,
    KnowledgeGradient,
    Options,
)
from admire_pipeline.optimizer.batch import best_batch
from admire_pipeline.optimizer.belief import Belief, Gains
from admire_pipeline.optimizer.constrained import ConstrainedBelief
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.design import (
    Rules,
    in_set_up,
    next_design_mixture,
    open_fidelities,
    proves,
)
from admire_pipeline.optimizer.feasibility import fit_constraints
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.numerics import torch_seed
from admire_pipeline.optimizer.policy import (
    NothingToPropose,
    Policy,
    PolicySettings,
    Proposal,
    Recommendation,
    trial_rng,
)
from admire_pipeline.optimizer.pool import find_trial, untried
from admire_pipeline.optimizer.search import Ranking, candidates, maximise, rank
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.subset import representative
from admire_pipeline.optimizer.trials import Trials

_CANDIDATES = 100
_INCUMBENTS = 3
_CLIMBS = 2
# Predictions closer than this fraction of the largest standard deviation are equal.
_TIE = 1e-3


class _Choice(NamedTuple):
    """A trial that may be next, and its value per unit of cost."""

    value: float
    mixture: np.ndarray
    fidelity: int


class Admire(Policy):
    """Knowledge gradient per unit cost over all fidelities, on a surrogate averaged over models.

    Args:
        settings: What the user set.
        surrogate: Choices in the surrogate.
        rules: For the beginning of a campaign and for what is recommended.
        batches: Compare sizes by the number of trials that pays best, not by single trials.
        constraints: What the recommended mixture is to keep; not in pools.
    """

    name = "admire"
    target_only = False

    def __init__(
        self,
        settings: PolicySettings,
        *,
        surrogate: SurrogateSettings | None = None,
        rules: Rules | None = None,
        batches: bool = True,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        super().__init__(settings)
        self.surrogate = surrogate or SurrogateSettings()
        self.rules = rules or Rules()
        self.batches = batches
        self.constraints = tuple(constraints)

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Choose the next design point, or else the best value over fidelities and mixtures."""
        self._check(space)
        trials = self._relevant(space, trials)
        observed = trials.where(trials.observed)
        seen = representative(observed)
        fidelities = self._fidelities(space, trials)
        set_up = not space.pools and in_set_up(space, trials, fidelities, self.settings)
        if set_up or not len(seen):
            return self._design(space, trials, fidelities, seed)
        if self.rules.proof and proves(space, trials, fidelities, self.settings.proof_trials):
            return self._proof(space, trials, seen, seed)
        rng = trial_rng(seed, trials)
        with torch_seed(rng):
            belief = self._fit(space, seen)
            if space.pools:
                belief = belief.believe(trials)
                pool, scores = space.pools[-1], _pool_scores(space, observed)
                options = Options.of_pool(belief.surrogate, pool, scores)
                gains: Gains = partial(KnowledgeGradient, belief.surrogate, options=options)
                left = {fidelity: untried(space, trials, fidelity) for fidelity in fidelities}
            else:
                points = _best_predicted(space, belief, seen, rng, caution=0.0).mixtures
                near = candidates(space.mixtures, points[:_INCUMBENTS], _CANDIDATES, rng)
                points = np.vstack([points[: 2 * _CANDIDATES], near])
                gains = belief.believe(trials).gains(points)
                left = {
                    fidelity: points[~trials.holds(points, fidelity)] for fidelity in fidelities
                }
            choices = [
                self._choose(space, trials, gains(fidelity), rows)
                # The target first, to which it falls if nothing seems to gain anything.
                for fidelity, rows in reversed(left.items())
                if len(rows)
            ]
        if not choices and space.pools:
            raise NothingToPropose("the pools are used up")
        if not choices:
            # No mixture is left to try (the bounds leave hardly any): repeat at the largest size.
            last = space.mixtures.project(seen.mixtures[-1])
            choices = [_Choice(0.0, last, fidelities[-1])]
        best = max(choices, key=lambda choice: choice.value)
        return self._proposal(
            space,
            best.mixture,
            best.fidelity,
            phase="search",
            acquisition_value=best.value,
            based_on=seen.names,
        )

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Return the mixture of the largest expected score, on the simplex less half its deviation.

        Few trials of the target leave it open whether the smaller sizes mislead, and at a corner of
        the simplex one may lose many times what one gains. And after a handful of trials the
        surrogate knows too little to be trusted with a mixture that was never tried at all: until
        then those tried at the target are compared, or all while none is. The mixtures of a pool
        are all such as somebody chose to run, so there neither holds.
        """
        self._check(space)
        trials = self._relevant(space, trials)
        observed = trials.where(trials.observed)
        if not len(observed):
            return None
        seen = representative(observed)
        belief, caution = self._fit(space, seen), self.rules.caution
        if space.pools:
            pool, scores = space.pools[-1], _pool_scores(space, observed)
            means, deviations = belief.surrogate.predict(pool)
            # Among equals, as all are after one trial of the target, one that was tried.
            values = np.where(np.isnan(scores), means - _TIE * deviations.max(), scores)
            mixture = pool[int(values.argmax())]
            return belief.recommendation(mixture, find_trial(trials, mixture))
        tried = seen.feasible(space)
        distrust = len(tried) > 0 and len(seen) <= self.rules.trusted
        if distrust and (at_target := tried.fidelities == len(space.fidelities) - 1).any():
            tried = tried.where(at_target)
        mixtures = tried.mixtures
        if not distrust:
            rng = trial_rng(seed, trials)
            with torch_seed(rng):
                found = _best_predicted(space, belief, seen, rng, caution).mixtures
            mixtures = np.vstack([mixtures, found[belief.values(found, caution).argmax()]])
        values = belief.values(mixtures, caution)
        _, deviations = belief.surrogate.predict(mixtures)
        # Among equals, as where the climb ends on a trial, the largest and latest trial.
        ties = np.flatnonzero(values[: len(tried)] >= values.max() - _TIE * deviations.max())
        if not len(ties):
            return belief.recommendation(space.mixtures.project(mixtures[-1]), None)
        last = max(ties, key=lambda i: (tried.fidelities[i], i))
        return belief.recommendation(mixtures[last], tried.names[last])

    def _fit(self, space: Space, seen: Trials) -> Belief:
        """Return what observed trials tell."""
        surrogate = fit(space, seen, self.surrogate)
        fitted = fit_constraints(space, seen, self.constraints, self.surrogate)
        return ConstrainedBelief(surrogate, fitted) if fitted else Belief(surrogate)

    def _check(self, space: Space) -> None:
        """Check that the constraints are such as this space can have.

        Raises:
            ValueError: If one is of another metric, or there are pools.
        """
        for constraint in self.constraints:
            constraint.check(space.objective)
            if space.pools:
                raise ValueError("constraints: not in pools of finished runs; allowed: none")

    def _fidelities(self, space: Space, trials: Trials) -> list[int]:
        """Return the positions of the fidelities that may be tried now.

        One who trains none of those need not wait for the others: it tries what it can.
        """
        sizes = list(range(len(space.fidelities)))
        if self.target_only:
            return self._proposable(space, sizes[-1:])
        proof, credit = self.settings.proof_trials, self.rules.credit
        offered = space.proposable(open_fidelities(space, trials, proof, credit))
        return offered or self._proposable(space, sizes)

    def _relevant(self, space: Space, trials: Trials) -> Trials:
        """Leave out trials that the surrogate is not to use."""
        if self.target_only:
            return trials.where(trials.fidelities == len(space.fidelities) - 1)
        return trials

    def _design(self, space: Space, trials: Trials, fidelities: list[int], seed: int) -> Proposal:
        """Return the next trial of the set-up phase."""
        if not space.pools:
            smallest = fidelities[0]  # of those that are open
            even = self.settings.proof_trials if self.rules.even else 0
            mixture = next_design_mixture(
                space, trials, seed, smallest, even=even, tied=self.rules.tied
            )
            return self._proposal(space, mixture, smallest, phase="design")
        for fidelity in fidelities:
            if len(rows := untried(space, trials, fidelity)):
                mixture = rows[trial_rng(seed, trials).integers(len(rows))]
                return self._proposal(space, mixture, fidelity, phase="design")
        raise NothingToPropose("the pools are used up")

    def _proof(self, space: Space, trials: Trials, seen: Trials, seed: int) -> Proposal:
        """Return a trial of the target that shows what the smaller sizes are worth.

        On the simplex it is one of uniform draws: the target is too dear for a corner. Like the
        set-up phase it heeds bounds, and no constraints on metrics.
        """
        target = len(space.fidelities) - 1
        if space.pools:
            rows = untried(space, trials, target)
        else:
            rows = space.mixtures.sample(2 * _CANDIDATES, trial_rng(seed, trials))
        if not len(rows):
            raise NothingToPropose("the target's pool is used up")
        unseen = trials.mixtures[~trials.observed & (trials.fidelities == target)]
        found = rank(Disagreement(fit(space, seen, self.surrogate), unseen), rows)
        return self._proposal(
            space,
            found.best,
            target,
            phase="proof",
            acquisition_value=float(found.values[0]),
            based_on=seen.names,
        )

    def _choose(
        self, space: Space, trials: Trials, gain: KnowledgeGradient, mixtures: np.ndarray
    ) -> _Choice:
        """Choose among new mixtures of one size (``n >= 1``)."""
        fidelity, cost = gain.fidelity, space.fidelities[gain.fidelity].cost
        most = min(int(space.target.cost / cost), MOST)
        if self.batches and most > 1:
            value, row = best_batch(gain, mixtures, most)
            return _Choice(value / cost, mixtures[row], fidelity)
        if space.pools:
            ranking, first = rank(gain, mixtures), 0
        else:
            ranking = maximise(gain, space.mixtures, mixtures, restarts=_CLIMBS)
            # A climb may end on a trial.
            first = int((~trials.holds(ranking.mixtures, fidelity)).argmax())
        mixture, value = ranking.mixtures[first], float(ranking.values[first])
        if self.batches:
            # By the same measure as the batches of other sizes.
            value = gain.per_trial(torch.from_numpy(mixture[None]))
        return _Choice(value / cost, mixture, fidelity)


class AdmireTarget(Admire):
    """The same without smaller sizes: what they are worth is measured against it."""

    name = "admire-target"
    target_only = True


def _pool_scores(space: Space, observed: Trials) -> np.ndarray:
    """Return the observed score of each mixture of the target's pool, NaN where not tried."""
    at_target = observed.where(observed.fidelities == len(space.fidelities) - 1)
    scores = {
        mixture.tobytes(): score
        for mixture, score in zip(at_target.mixtures, at_target.scores, strict=True)
    }
    return np.array([scores.get(mixture.tobytes(), np.nan) for mixture in space.pools[-1]])


def _best_predicted(
    space: Space, belief: Belief, seen: Trials, rng: np.random.Generator, caution: float
) -> Ranking:
    """Rank mixtures all over the simplex, the climbed maxima first, by what they are worth."""
    around = seen.feasible(space).mixtures
    if len(around):
        values = belief.values(around, caution)
        around = around[np.argsort(-values, kind="stable")[:_INCUMBENTS]]
    cover = candidates(space.mixtures, around, _CANDIDATES, rng)
    return belief.climb(space.mixtures, cover, caution)
