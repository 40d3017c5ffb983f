"""Acquisition functions over mixtures, each at one fidelity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from admire_pipeline.optimizer.evidence import JITTER
from admire_pipeline.optimizer.numerics import root
from admire_pipeline.optimizer.surrogate import CHUNK, Moments, Surrogate

# The maximum of straight lines has kinks, for which Gauss-Hermite nodes are too few.
NODES = torch.linspace(-8, 8, 129, dtype=torch.float64)
"""Values of a standard normal variable, for the trapezoid rule ..."""
WEIGHTS = torch.softmax(-(NODES**2) / 2, dim=0)
"""... and their weights."""

MOST = 32
"""Trials of one size that are considered together."""


class CautiousMean(AcquisitionFunction):
    """Posterior mean of the score at the target, less so many of its standard deviations.

    Args:
        surrogate: The fitted model.
        caution: Number of standard deviations.
    """

    def __init__(self, surrogate: Surrogate, caution: float) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.surrogate = surrogate
        self.caution = caution

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``."""
        return torch.cat([self._value(part) for part in X.squeeze(-2).split(CHUNK)])

    def _value(self, mixtures: Tensor) -> Tensor:
        surrogate = self.surrogate
        if not self.caution:
            return surrogate.mean(mixtures, surrogate.target)
        moments = surrogate.moments(mixtures, surrogate.target)
        return moments.mean - self.caution * root(surrogate.variance(moments))


class Disagreement(AcquisitionFunction):
    """How much of the variance of a trial at the target is between draws of the hyperparameters.

    A trial of which each draw is sure and all say something else shows which of them is right, and
    so above all what smaller sizes are worth: the draws differ in the correlations between sizes.
    What the draws say differently of trials without scores is taken for settled: a pending one will
    show it, and beside a failed one the next would fail too.

    Args:
        surrogate: The fitted model.
        unseen: ``n x K`` mixtures of these trials.
    """

    def __init__(self, surrogate: Surrogate, unseen: np.ndarray) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.surrogate = surrogate
        with torch.no_grad():
            self.unseen = surrogate.moments(torch.from_numpy(unseen), surrogate.target)
            settled = surrogate.disagreement(self.unseen, self.unseen)
            least = JITTER * surrogate.noise(surrogate.target)
            settled.diagonal().add_(least)
            self.factor = psd_safe_cholesky(settled, max_tries=8)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``; from 0 to 1."""
        return torch.cat([self._share(part) for part in X.squeeze(-2).split(CHUNK)])

    def _share(self, mixtures: Tensor) -> Tensor:
        surrogate = self.surrogate
        moments = surrogate.moments(mixtures, surrogate.target)
        between = surrogate.disagreement(moments, moments).diagonal()
        settled = surrogate.disagreement(self.unseen, moments)
        settled = torch.linalg.solve_triangular(self.factor, settled, upper=False)
        left = (between - settled.square().sum(dim=0)).clamp_min(0)
        return left / (surrogate.variance(moments) + surrogate.noise(surrogate.target))


@dataclass(frozen=True)
class Options:
    """What may be recommended in the end: a finite set of mixtures at the target.

    Attributes:
        mixtures: ``t x K``.
        moments: What the surrogate says of them.
        values: ``t`` values of recommending each.
        open: ``t`` of 1, or 0 where the value is known for good.
        realised: Whether a trial of an option settles its value, noise and all: in a pool of
            finished runs it does.
    """

    mixtures: Tensor
    moments: Moments
    values: Tensor
    open: Tensor
    realised: bool

    @classmethod
    def everywhere(cls, surrogate: Surrogate, mixtures: np.ndarray) -> Options:
        """Take mixtures (``t x K``) that cover the simplex; the value of each is its mean."""
        with torch.no_grad():
            moments = surrogate.moments(torch.from_numpy(mixtures), surrogate.target)
        ones = torch.ones(len(mixtures), dtype=torch.float64)
        return cls(torch.from_numpy(mixtures), moments, moments.mean, ones, realised=False)

    @classmethod
    def of_pool(cls, surrogate: Surrogate, pool: np.ndarray, scores: np.ndarray) -> Options:
        """Take a pool (``t x K``) with its scores (``t``), NaN where not tried.

        Args:
            surrogate: The fitted model.
            pool: The target's pool.
            scores: Observed scores.
        """
        with torch.no_grad():
            moments = surrogate.moments(torch.from_numpy(pool), surrogate.target)
        known = torch.from_numpy(np.isfinite(scores))
        values = torch.where(known, torch.from_numpy(scores), moments.mean)
        return cls(torch.from_numpy(pool), moments, values, (~known).double(), realised=True)


class KnowledgeGradient(AcquisitionFunction):
    """How much better the best option is expected to be after one more trial (Frazier et al. 2009).

    With ``mu`` the options' values and ``b`` their covariances with the trial's score over its
    standard deviation, it is ``E max(mu + b Z) - max mu`` over a standard normal ``Z``, here by
    the trapezoid rule.

    Args:
        surrogate: The fitted model, pending trials accounted for.
        fidelity: Position of the fidelity at which mixtures are tried.
        options: What may be recommended.
    """

    def __init__(self, surrogate: Surrogate, fidelity: int, options: Options) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.surrogate = surrogate
        self.fidelity = fidelity
        self.options = options
        self.noise = surrogate.noise(fidelity)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Evaluate mixtures ``b x 1 x K``, in units of the score."""
        return torch.cat([self._gain(part) for part in X.squeeze(-2).split(CHUNK)])

    def _gain(self, mixtures: Tensor) -> Tensor:
        moments = self.moments(mixtures)
        deviation = root(self.surrogate.variance(moments) + self.noise)
        change = self._change(moments, mixtures) / deviation
        return self._of_one(change.T, mixtures)

    def _of_one(self, change: Tensor, mixtures: Tensor) -> Tensor:
        """Return the gains (``b``) of single trials.

        Args:
            change: ``b x t``, of the options' scores by a trial one deviation above its mean.
            mixtures: ``b x K`` of the trials, or ``1 x K`` of all.
        """
        after = self.options.values + change.unsqueeze(-2) * NODES.unsqueeze(-1)
        # The mean of the maxima differs from today's maximum in the last digits alone where a trial
        # tells nothing: subtract before averaging.
        return ((after.amax(dim=-1) - self.options.values.amax()) @ WEIGHTS).clamp_min(0)

    def _of_several(self, shifts: Tensor, mixtures: Tensor) -> Tensor:
        """Return the gains (``S``) of the first few trials together.

        Args:
            shifts: ``S x 128 x t``, of the options' scores in so many draws of what they show.
            mixtures: ``b x K`` of these trials.
        """
        after = self.options.values + shifts
        return (after.amax(dim=2) - self.options.values.amax()).mean(dim=1)

    def sensitivities(self) -> list[tuple[Surrogate, Tensor]]:
        """Return what trials show, and the slopes (``t``) of the options' values by it."""
        return [(self.surrogate, self.options.open)]

    def moments(self, mixtures: Tensor) -> Moments:
        """Return what the surrogate says of the scores of trials (``b x K``)."""
        settled = self.settled(mixtures)
        if settled.any(dim=0).all():
            # They are options, whose moments are known already.
            return self.options.moments.where(settled.argmax(dim=0))
        return self.surrogate.moments(mixtures, self.fidelity)

    def _change(self, moments: Moments, mixtures: Tensor) -> Tensor:
        """Return the covariances (``t x b``) of the options' values with the trials' scores."""
        change = self.surrogate.covariance(self.options.moments, moments)
        return self.options.open.unsqueeze(1) * (change + self.noise * self.settled(mixtures))

    def settled(self, mixtures: Tensor) -> Tensor:
        """Return 1 where a trial settles the value of an option (``t x b``), else 0."""
        if not self.options.realised or self.fidelity != self.surrogate.target:
            return torch.zeros(len(self.options.mixtures), len(mixtures), dtype=mixtures.dtype)
        return (self.options.mixtures.unsqueeze(1) == mixtures).all(dim=-1).to(mixtures)

    def per_trial(self, mixtures: Tensor) -> float:
        """Return the largest gain per trial of the first 1, 2, 4, ... and all of some mixtures.

        The hyperparameters of each draw are taken for known, and the gains averaged, weighted by
        the draw's part in the score's variance; the options' values are the averaged ones in all
        draws.

        Args:
            mixtures: ``b x K``, ``b`` at most ``MOST``.
        """
        surrogate, options, count = self.surrogate, self.options, len(mixtures)
        moments = self.moments(mixtures)
        noise = surrogate.noise_by_draw(self.fidelity)[:, None, None]
        observed = surrogate.covariance_by_draw(moments, moments)
        observed = observed + noise * torch.eye(count, dtype=mixtures.dtype)
        factor = psd_safe_cholesky(observed, max_tries=8)
        change = surrogate.covariance_by_draw(options.moments, moments)
        change = options.open.unsqueeze(1) * (change + noise * self.settled(mixtures))
        change = torch.linalg.solve_triangular(factor, change.transpose(1, 2), upper=False)
        best = float(surrogate.weight @ self._of_one(change[:, 0], mixtures[:1]))
        normal = normal_draws()[0, :count].T
        shifts, done = normal[:, :1] @ change[:, :1], 1
        while done < count:
            number = min(2 * done, count)
            # In a triangle the first trials do not depend on later ones: more add to the sum.
            shifts = shifts + normal[:, done:number] @ change[:, done:number]
            # Of each draw its opposite too: without information the gain is exactly 0.
            gains = self._of_several(torch.cat([shifts, -shifts], dim=1), mixtures[:number])
            best = max(best, float(surrogate.weight @ gains) / number)
            done = number
        return max(best, 0.0)


@cache
def normal_draws(series: int = 1) -> Tensor:
    """Return normal draws, ``series x MOST x 64``, always the same: what is compared shares them.

    Args:
        series: One for each quantity that trials show.
    """
    engine = torch.quasirandom.SobolEngine(series * MOST, scramble=True, seed=0)
    uniform = engine.draw(64, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    return torch.special.ndtri(uniform).T.reshape(series, MOST, -1)
