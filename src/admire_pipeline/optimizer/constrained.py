"""Search and recommendation where metrics have bounds to keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from linear_operator.utils.cholesky import psd_safe_cholesky
from scipy.special import ndtr
from torch import Tensor

from admire_pipeline.optimizer.acquisition import KnowledgeGradient, Options, normal_draws
from admire_pipeline.optimizer.belief import Belief, Gains, believe, hopeful
from admire_pipeline.optimizer.limits import Limit
from admire_pipeline.optimizer.policy import Recommendation
from admire_pipeline.optimizer.surrogate import CHUNK, Moments, Surrogate
from admire_pipeline.optimizer.trials import Trials

_PRICE = 3.0  # of a standard deviation that a margin is short of, in those of the score
_SPARE = 0.02  # of a margin: a climb ends on the bound, up to round-off
_TINY = 1e-150


class ConstrainedBelief(Belief):
    """A mixture is worth its score if it keeps all bounds, and that of a bad one if it does not.

    With ``P`` the probability that it does, ``mu`` its predicted score and ``low`` that of the
    worst mixture of a cover of the simplex, the expected worth is ``low + P (mu - low)``. Metrics
    are taken as independent.

    Args:
        surrogate: The fitted model of the score.
        limits: The bounds, and the models of their metrics.
    """

    def __init__(self, surrogate: Surrogate, limits: tuple[Limit, ...]) -> None:
        super().__init__(surrogate)
        self.limits = limits

    def believe(self, trials: Trials) -> ConstrainedBelief:
        """Condition on trials without scores."""
        limits = tuple(limit.believe(trials) for limit in self.limits)
        return ConstrainedBelief(believe(self.surrogate, trials), limits)

    def worth(self) -> AcquisitionFunction:
        """Return the predicted score, less a price for margins that are too small."""
        return _Priced(self.surrogate, self.limits)

    def values(self, mixtures: np.ndarray) -> np.ndarray:
        """Return the predicted score where each bound is kept with the probability asked for.

        Other mixtures are worth nothing beside such a one (minus infinity); where there is none,
        what they are short of has its price.
        """
        means, margins = self.surrogate.predict(mixtures)[0], self._margins(mixtures)
        needed = np.array([limit.constraint.margin for limit in self.limits])
        short = np.maximum(needed - margins, 0).sum(axis=1)
        if (short == 0).any():
            return np.where(short == 0, means, -np.inf)
        return means - _price(self.surrogate) * short

    def gains(self, mixtures: np.ndarray) -> Gains:
        """Compare by expected worth those mixtures that may well be the best, bounds and all."""
        means, deviations = self.surrogate.predict(mixtures)
        low = float(means.min())
        hope = ndtr(self._margins(mixtures) + 2).prod(axis=1)
        chosen = hopeful(mixtures, low + hope * (means + 2 * deviations - low))
        options = Options.everywhere(self.surrogate, chosen)
        probability = torch.from_numpy(ndtr(self._margins(chosen)).prod(axis=1))
        values = low + probability * (options.values - low)
        options = replace(options, values=values, open=probability)
        return partial(
            ConstrainedGradient, self.surrogate, options=options, limits=self.limits, low=low
        )

    def recommendation(self, mixture: np.ndarray, trial: str | None) -> Recommendation:
        """Say what is believed of a mixture (``K``): of bounded metrics what the bounds go by."""
        found = super().recommendation(mixture, trial)
        metrics = dict(found.metrics)
        for limit in self.limits:
            if limit.surrogate is not None:
                mean, deviation = limit.surrogate.predict(mixture[None])
                metrics[limit.constraint.metric] = (float(mean[0]), float(deviation[0]))
        return replace(found, metrics=metrics)

    def _margins(self, mixtures: np.ndarray) -> np.ndarray:
        """Margins (``n x C``) of mixtures (``n x K``)."""
        with torch.no_grad():
            parts = [
                torch.stack([limit.margins(part) for limit in self.limits], dim=1)
                for part in torch.from_numpy(mixtures).split(CHUNK)
            ]
        return torch.cat(parts).numpy()


class _Priced(AcquisitionFunction):
    """What a climb maximises: beyond a bound it leads back to it.

    Args:
        surrogate: The fitted model of the score.
        limits: The bounds, and the models of their metrics.
    """

    def __init__(self, surrogate: Surrogate, limits: tuple[Limit, ...]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.surrogate, self.limits, self.price = surrogate, limits, _price(surrogate)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``."""
        return torch.cat([self._value(part) for part in X.squeeze(-2).split(CHUNK)])

    def _value(self, mixtures: Tensor) -> Tensor:
        value = self.surrogate.mean(mixtures, self.surrogate.target)
        for limit in self.limits:
            short = limit.constraint.margin + _SPARE - limit.margins(mixtures)
            value = value - self.price * short.clamp_min(0)
        return value


@dataclass(frozen=True)
class _Known:
    """What the model of a bounded metric says of the options.

    Attributes:
        limit: The bound.
        surrogate: The model.
        moments: Of the ``t`` options.
        variance: Of the ``t`` options.
    """

    limit: Limit
    surrogate: Surrogate
    moments: Moments
    variance: Tensor

    @classmethod
    def of(cls, limit: Limit, surrogate: Surrogate, mixtures: Tensor) -> _Known:
        """Predict the metric of the options (``t x K``)."""
        moments = surrogate.moments(mixtures, surrogate.target)
        return cls(limit, surrogate, moments, surrogate.variance(moments))


class ConstrainedGradient(KnowledgeGradient):
    """Knowledge gradient where a trial changes both what options score and what they may.

    ``E max(worth after the trial) - max(worth)``, of the expected worth of ``ConstrainedBelief``,
    over joint normal draws of what the trial shows of the score and of each bounded metric: the
    constrained knowledge gradient of Ungredda and Branke 2021, "Bayesian optimisation for
    constrained problems", arXiv 2105.13245, here of several trials too.

    Args:
        surrogate: The fitted model of the score, pending trials accounted for.
        fidelity: Position of the fidelity at which mixtures are tried.
        options: What may be recommended.
        limits: The bounds, and the models of their metrics.
        low: What an option is worth that does not keep them.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        fidelity: int,
        options: Options,
        limits: tuple[Limit, ...],
        low: float,
    ) -> None:
        super().__init__(surrogate, fidelity, options)
        self.low = low
        with torch.no_grad():
            self.known = [
                _Known.of(limit, limit.surrogate, options.mixtures)
                for limit in limits
                if limit.surrogate is not None
            ]
        self.unknown = 0.5 ** (len(limits) - len(self.known))

    def _gain(self, mixtures: Tensor) -> Tensor:
        normal = _draws(1 + len(self.known), 1)[:, 0]
        changes = [self._change_of(self.surrogate, self.options.moments, mixtures)]
        changes += [self._change_of(k.surrogate, k.moments, mixtures) for k in self.known]
        shifts = [change.unsqueeze(-1) * z for change, z in zip(changes, normal, strict=True)]
        return self._after(shifts, [change.square() for change in changes[1:]])

    def _change_of(self, surrogate: Surrogate, options: Moments, mixtures: Tensor) -> Tensor:
        """By how much (``t x b``) a trial one deviation above its mean changes the options."""
        moments = surrogate.moments(mixtures, self.fidelity)
        deviation = (surrogate.variance(moments) + surrogate.noise(self.fidelity)).sqrt()
        return surrogate.covariance(options, moments) / deviation.clamp_min(_TINY)

    def per_trial(self, mixtures: Tensor) -> float:
        """Return the largest gain per trial of the first 1, 2, 4, ... of ``b`` mixtures."""
        count = len(mixtures)
        normal = _draws(1 + len(self.known), count)
        changes = [self._changes_of(self.surrogate, self.options.moments, mixtures)]
        changes += [self._changes_of(k.surrogate, k.moments, mixtures) for k in self.known]
        best = 0.0
        for number in _doubled(count):
            shifts = [
                change[:, :number] @ z[:number] for change, z in zip(changes, normal, strict=True)
            ]
            told = [change[:, :number].square().sum(dim=1) for change in changes[1:]]
            best = max(best, float(self._after(shifts, told)) / number)
        return best

    def _changes_of(self, surrogate: Surrogate, options: Moments, mixtures: Tensor) -> Tensor:
        """The same (``t x b``) for trials one after the other, each of what is left to know."""
        moments = surrogate.moments(mixtures, self.fidelity)
        noise = surrogate.noise(self.fidelity) * torch.eye(len(mixtures), dtype=mixtures.dtype)
        root = psd_safe_cholesky(surrogate.covariance(moments, moments) + noise, max_tries=8)
        change = surrogate.covariance(moments, options)
        return torch.linalg.solve_triangular(root, change, upper=False).T

    def _after(self, shifts: list[Tensor], told: list[Tensor]) -> Tensor:
        """Return the gains from what trials may show.

        Args:
            shifts: Of the score, then of each bounded metric, ``t x ... x D`` changes of the
                options' means in ``D`` draws.
            told: Of each bounded metric ``t x ...`` variances that the trials remove.
        """
        lead = [-1] + [1] * (shifts[0].dim() - 1)
        score = self.options.moments.mean.view(lead) + shifts[0]
        probability = torch.full_like(score, self.unknown)
        for known, shift, gone in zip(self.known, shifts[1:], told, strict=True):
            left = known.variance.view(lead[:-1]) - gone
            mean = known.moments.mean.view(lead) + shift
            margins = known.limit.standardised(mean, left.unsqueeze(-1))
            probability = probability * torch.special.ndtr(margins)
        worth = self.low + probability * (score - self.low)
        # Of the same draws, so that a trial that tells nothing gains exactly that.
        return (worth.amax(dim=0).mean(dim=-1) - worth.mean(dim=-1).amax(dim=0)).clamp_min(0)


def _doubled(count: int) -> Iterator[int]:
    """Yield 1, 2, 4, ... and ``count``."""
    number = 1
    while number < count:
        yield number
        number *= 2
    yield count


def _draws(series: int, count: int) -> Tensor:
    """Return normal draws and their opposites of so many trials, ``series x count x 128``."""
    normal = normal_draws(series)[:, :count]
    return torch.cat([normal, -normal], dim=-1)


def _price(surrogate: Surrogate) -> float:
    """Return the price of a standard deviation that a margin is short of, in units of the score."""
    variance = torch.stack([part.scale for part in surrogate.parts]).sum(dim=0)
    return _PRICE * float((surrogate.weight @ variance).sqrt())
