"""Search and recommendation under constraints on metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from linear_operator.utils.cholesky import psd_safe_cholesky
from scipy.special import ndtr
from torch import Tensor

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer.acquisition import (
    NODES,
    WEIGHTS,
    CautiousMean,
    KnowledgeGradient,
    Options,
    normal_draws,
)
from admire_pipeline.optimizer.belief import Belief, Gains, believe, hopeful
from admire_pipeline.optimizer.feasibility import FittedConstraint
from admire_pipeline.optimizer.numerics import root
from admire_pipeline.optimizer.policy import Recommendation
from admire_pipeline.optimizer.search import Ranking, maximise
from admire_pipeline.optimizer.surrogate import CHUNK, Moments, Surrogate
from admire_pipeline.optimizer.trials import Trials

# Prices of a standard deviation that a margin is short of, in those of the score: a steep one alone
# has few slopes to climb by, a gentle one leads to mixtures that are short of some.
_PRICES = (3.0, 100.0)
_SPARE = 0.02  # of a margin: a climb ends on the bound, up to round-off
_DRAWS = 16  # of the metrics for single trials, and as many opposites


class ConstrainedBelief(Belief):
    """A mixture is worth its score if it keeps all constraints, and a bad one if it does not.

    With ``P`` the probability that it does, ``mu`` its predicted score and ``low`` that of the
    worst mixture of a cover of the simplex, the expected worth is ``low + P (mu - low)``. Score and
    metrics are taken as independent.

    Args:
        surrogate: The fitted model of the score.
        constraints: At least one, each with the model of its metric.
    """

    def __init__(self, surrogate: Surrogate, constraints: tuple[FittedConstraint, ...]) -> None:
        super().__init__(surrogate)
        self.constraints = constraints

    def believe(self, trials: Trials) -> ConstrainedBelief:
        """Condition on trials without scores."""
        constraints = tuple(constraint.believe(trials) for constraint in self.constraints)
        return ConstrainedBelief(believe(self.surrogate, trials), constraints)

    def climb(self, space: MixtureSpace, cover: np.ndarray, caution: float) -> Ranking:
        """Climb by the score less a price for what margins are short of, then by a steep one."""
        # Over the cover the price makes up most of the range.
        unit = _deviation(self.surrogate)
        for price in _PRICES:
            priced = _Priced(self.surrogate, self.constraints, caution, price)
            ranking = maximise(priced, space, cover, unit=unit)
            cover = ranking.mixtures
        return ranking

    def values(self, mixtures: np.ndarray, caution: float) -> np.ndarray:
        """Return what a mixture is worth, where each constraint is as likely kept as asked for.

        Other mixtures are worth nothing beside such a one (minus infinity); where there is none,
        what they are short of has its price.
        """
        worth, margins = super().values(mixtures, caution), self._margins(mixtures)
        needed = np.array([each.constraint.margin for each in self.constraints])
        short = np.maximum(needed - margins, 0).sum(axis=1)
        if (short == 0).any():
            return np.where(short == 0, worth, -np.inf)
        return worth - _PRICES[0] * _deviation(self.surrogate) * short

    def gains(self, mixtures: np.ndarray) -> Gains:
        """Compare by expected worth those mixtures that may well be the best and feasible."""
        means, deviations = self.surrogate.predict(mixtures)
        low = float(means.min())
        hope = ndtr(self._margins(mixtures) + 2).prod(axis=1)
        chosen = hopeful(mixtures, low + hope * (means + 2 * deviations - low))
        options = Options.everywhere(self.surrogate, chosen)
        probability = torch.from_numpy(ndtr(self._margins(chosen)).prod(axis=1))
        options = replace(options, values=low + probability * (options.values - low))
        return partial(
            ConstrainedGradient,
            self.surrogate,
            options=options,
            constraints=self.constraints,
            low=low,
        )

    def recommendation(self, mixture: np.ndarray, trial: str | None) -> Recommendation:
        """Say what is believed of a mixture (``K``): of constrained metrics what is gone by."""
        found = super().recommendation(mixture, trial)
        metrics = dict(found.metrics)
        for each in self.constraints:
            mean, deviation = each.surrogate.predict(mixture[None])
            metrics[each.constraint.metric] = (float(mean[0]), float(deviation[0]))
        return replace(found, metrics=metrics)

    def _margins(self, mixtures: np.ndarray) -> np.ndarray:
        """Margins (``n x C``) of mixtures (``n x K``)."""
        with torch.no_grad():
            parts = [
                torch.stack([each.margins(part) for each in self.constraints], dim=1)
                for part in torch.from_numpy(mixtures).split(CHUNK)
            ]
        return torch.cat(parts).numpy()


class _Priced(CautiousMean):
    """What a climb maximises: outside the constraints it leads back to them.

    Args:
        surrogate: The fitted model of the score.
        constraints: Each with the model of its metric.
        caution: Standard deviations of the predicted score that are taken off it.
        price: Of a standard deviation that a margin is short of, in those of the score.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        constraints: tuple[FittedConstraint, ...],
        caution: float,
        price: float,
    ) -> None:
        super().__init__(surrogate, caution)
        self.constraints = constraints
        self.price = price * _deviation(surrogate)

    def _value(self, mixtures: Tensor) -> Tensor:
        value = super()._value(mixtures)
        for each in self.constraints:
            short = each.constraint.margin + _SPARE - each.margins(mixtures)
            value = value - self.price * short.clamp_min(0)
        return value


@dataclass(frozen=True)
class _Predicted:
    """A constraint, and what the model of its metric says of the options.

    Attributes:
        fitted: The constraint.
        moments: Of the ``t`` options.
        variance: Of the ``t`` options.
    """

    fitted: FittedConstraint
    moments: Moments
    variance: Tensor

    @classmethod
    def of(cls, fitted: FittedConstraint, mixtures: Tensor) -> _Predicted:
        """Predict the metric of the options (``t x K``)."""
        moments = fitted.surrogate.moments(mixtures, fitted.surrogate.target)
        return cls(fitted, moments, fitted.surrogate.variance(moments))

    def margins(self) -> Tensor:
        """Return those of the options (``t``)."""
        return self.fitted.standardised(self.moments.mean, self.variance)

    def after(self, shifts: Tensor, told: Tensor) -> Tensor:
        """Return the probabilities (``... x t``) that options keep it, once more is known.

        Args:
            shifts: ``... x t`` changes of the means.
            told: ``... x t`` variances that are gone.
        """
        margins = self.fitted.standardised(self.moments.mean + shifts, self.variance - told)
        return torch.special.ndtr(margins)


class ConstrainedGradient(KnowledgeGradient):
    """Knowledge gradient where a trial changes both what options score and which are feasible.

    ``E max(worth after the trial) - max(worth)``, of the expected worth of ``ConstrainedBelief``:
    the constrained knowledge gradient of Ungredda and Branke 2021, "Bayesian optimisation for
    constrained problems", arXiv 2105.13245, here of several trials too. Where every option is
    feasible for certain it is the knowledge gradient.

    Args:
        surrogate: The fitted model of the score, pending trials accounted for.
        fidelity: Position of the fidelity at which mixtures are tried.
        options: What may be recommended, by expected worth.
        constraints: At least one, each with the model of its metric.
        low: What an option is worth that does not keep them.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        fidelity: int,
        options: Options,
        constraints: tuple[FittedConstraint, ...],
        low: float,
    ) -> None:
        super().__init__(surrogate, fidelity, options)
        self.low = low
        with torch.no_grad():
            self.predicted = [_Predicted.of(each, options.mixtures) for each in constraints]
        self.above = options.moments.mean - low

    def _of_one(self, change: Tensor, mixtures: Tensor) -> Tensor:
        probability = self._after_one(mixtures)  # b x draws x t
        lines = self.above + change.unsqueeze(-2) * NODES.unsqueeze(-1)
        now = (probability.mean(dim=1) * self.above).amax(dim=-1)
        # Draw by draw: all at once would take hundreds of MB.
        best = [
            (draw.unsqueeze(1) * lines).amax(dim=-1) @ WEIGHTS for draw in probability.unbind(1)
        ]
        return (torch.stack(best).mean(dim=0) - now).clamp_min(0)

    def _after_one(self, mixtures: Tensor) -> Tensor:
        """Probabilities (``b x draws x t``) that options are feasible after each of the trials."""
        draws = normal_draws(len(self.predicted))[:, 0, :_DRAWS]
        probability = torch.ones((), dtype=mixtures.dtype)
        for each, normal in zip(self.predicted, torch.cat([draws, -draws], dim=1), strict=True):
            surrogate = each.fitted.surrogate
            moments = surrogate.moments(mixtures, self.fidelity)
            variance = surrogate.variance(moments) + surrogate.noise(self.fidelity)
            change = surrogate.covariance(moments, each.moments)
            change = (change / root(variance).unsqueeze(1)).unsqueeze(1)
            probability = probability * each.after(change * normal[:, None], change.square())
        return probability

    def _of_several(self, shifts: Tensor, mixtures: Tensor) -> Tensor:
        after = self._after_several(mixtures) * (self.above + shifts)
        return after.amax(dim=2).mean(dim=1) - after.mean(dim=1).amax(dim=1)

    def _after_several(self, mixtures: Tensor) -> Tensor:
        """Probabilities (``draws x t``) that options are feasible after all of the trials."""
        count = len(mixtures)
        # The first series is the score's.
        draws = normal_draws(1 + len(self.predicted))[1:, :count].transpose(1, 2)
        probability = torch.ones((), dtype=mixtures.dtype)
        for each, normal in zip(self.predicted, torch.cat([draws, -draws], dim=1), strict=True):
            surrogate = each.fitted.surrogate
            moments = surrogate.moments(mixtures, self.fidelity)
            noise = surrogate.noise(self.fidelity) * torch.eye(count, dtype=mixtures.dtype)
            factor = psd_safe_cholesky(surrogate.covariance(moments, moments) + noise, max_tries=8)
            change = surrogate.covariance(moments, each.moments)
            change = torch.linalg.solve_triangular(factor, change, upper=False)
            probability = probability * each.after(normal @ change, change.square().sum(dim=0))
        return probability

    def sensitivities(self) -> list[tuple[Surrogate, Tensor]]:
        """Return score and metrics, and the slopes (``t``) of the options' worth by each."""
        margins = [each.margins() for each in self.predicted]
        kept = [torch.special.ndtr(margin) for margin in margins]
        slopes = [(self.surrogate, torch.stack(kept).prod(dim=0))]
        for index, each in enumerate(self.predicted):
            others = [probability for i, probability in enumerate(kept) if i != index]
            density = torch.exp(-margins[index].square() / 2) / (2 * torch.pi) ** 0.5
            slope = self.above * density / root(each.variance)
            for probability in others:
                slope = slope * probability
            slopes.append((each.fitted.surrogate, slope))
        return slopes


def _deviation(surrogate: Surrogate) -> float:
    """Standard deviation of the score over the space, before any trial."""
    variance = torch.stack([part.scale for part in surrogate.parts]).sum(dim=0)
    return float((surrogate.weight @ variance).sqrt())
