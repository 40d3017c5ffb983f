"""What is believed of the mixtures that may be recommended, anywhere on the simplex."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Self

import numpy as np

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer.acquisition import CautiousMean, KnowledgeGradient, Options
from admire_pipeline.optimizer.policy import Recommendation
from admire_pipeline.optimizer.search import Ranking, maximise
from admire_pipeline.optimizer.subset import representative
from admire_pipeline.optimizer.surrogate import Surrogate
from admire_pipeline.optimizer.trials import Trials

Gains = Callable[[int], KnowledgeGradient]

_OPTIONS = 150


class Belief:
    """A mixture is worth the score that is predicted of it at the target, less some caution.

    Args:
        surrogate: The fitted model of the score.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate = surrogate

    def believe(self, trials: Trials) -> Self:
        """Condition on trials without scores.

        Failed ones too: what they were to tell would be sought right beside them, again and again.
        """
        return type(self)(believe(self.surrogate, trials))

    def climb(self, space: MixtureSpace, cover: np.ndarray, caution: float) -> Ranking:
        """Rank mixtures of a cover of the simplex and the maxima above the best.

        Args:
            space: The constrained simplex.
            cover: ``n x K``.
            caution: Standard deviations of the predicted score that are taken off it.
        """
        return maximise(CautiousMean(self.surrogate, caution), space, cover)

    def values(self, mixtures: np.ndarray, caution: float) -> np.ndarray:
        """Return what recommending each of some mixtures (``n x K``) is worth, ``n``.

        Args:
            mixtures: ``n x K``.
            caution: Standard deviations of the predicted score that are taken off it.
        """
        means, deviations = self.surrogate.predict(mixtures)
        return means - caution * deviations

    def gains(self, mixtures: np.ndarray) -> Gains:
        """Compare those of some mixtures (``n x K``) that may well be the best.

        Returns:
            What trials add to the best of them, by the position of the trials' fidelity.
        """
        means, deviations = self.surrogate.predict(mixtures)
        options = Options.everywhere(self.surrogate, hopeful(mixtures, means + 2 * deviations))
        return partial(KnowledgeGradient, self.surrogate, options=options)

    def recommendation(self, mixture: np.ndarray, trial: str | None) -> Recommendation:
        """Say what is believed of a mixture (``K``)."""
        mean, deviation = self.surrogate.predict(mixture[None])
        metrics = self.surrogate.predict_metrics(mixture)
        return Recommendation(mixture, float(mean[0]), float(deviation[0]), trial, metrics)


def believe(surrogate: Surrogate, trials: Trials) -> Surrogate:
    """Condition a surrogate on pending and failed trials."""
    failed = representative(trials.where(~trials.telling))
    return surrogate.believe(trials.where(trials.pending)).believe(failed)


def hopeful(mixtures: np.ndarray, hopes: np.ndarray) -> np.ndarray:
    """Return the mixtures (of ``n x K``) of the largest hopes (``n``)."""
    return mixtures[np.argsort(-hopes, kind="stable")[:_OPTIONS]]
