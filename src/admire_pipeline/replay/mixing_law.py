"""Problems over the whole simplex by a data mixing law, whose small sizes tell or mislead."""

from __future__ import annotations

import numpy as np

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Space
from admire_pipeline.replay.problem import Evaluation, Problem

_DOMAINS = 5
_COSTS = (0.1, 0.35, 1.0)
_MIXTURES = 20_000


class MixingLawProblem(Problem):
    """The score is minus the mean of the losses on each domain, weighted by their importance.

    The loss on domain ``i`` is ``exp(-sum_j t_ji sqrt(w_j))``, where ``t_ji`` is what domain ``j``
    does for it: an exponential law as in Ye et al. 2024, "Data mixing laws" (arXiv 2403.16952), but
    of the roots of the weights, so that the first share of a domain gains most. Unlike functions
    drawn from a Gaussian process it is lopsided: the best mixture is little better than a random
    one, and a corner of the simplex much worse.

    Five domains, and three sizes that cost 0.1, 0.35 and 1. At the smaller ones domains transfer a
    little differently and rank mixtures as the target does (over uniform mixtures their correlation
    with it is above 0.95), or they mislead: at the smallest one other domains are important, and it
    gives the loss in place of the score (-1 to 0), and at the next one others are, and transfer the
    other way round (-0.3 to 0.9). A random pick is a uniform mixture of the simplex; the best is
    that of 20,000 of these and as many towards its faces.

    Args:
        seed: Another one is another problem.
        misleading: Whether the smaller sizes mislead.
        noise: Standard deviation of a run's score, of those of uniform mixtures at the target.
    """

    def __init__(
        self,
        seed: int,
        *,
        misleading: bool,
        noise: float = 0.05,
    ) -> None:
        rng = np.random.default_rng([seed, 99])
        square = (_DOMAINS, _DOMAINS)
        transfer = rng.gamma(0.5, 1.0, square) + np.diag(np.full(_DOMAINS, 1.5))
        importance = rng.dirichlet(np.full(_DOMAINS, 2.0))
        # Of each size the transfer, the importance, and the score's part of their mean loss.
        self._laws = [(transfer, importance, -1.0)]
        if misleading:
            other = (transfer.T, rng.permutation(importance), -0.5)
            self._laws = [(transfer, importance[::-1], 0.5), other, *self._laws]
        else:
            jitter = np.exp(0.2 * rng.normal(size=(2, *square)))
            self._laws = [*((transfer * each, importance, -0.5) for each in jitter), *self._laws]
        simplex = MixtureSpace(tuple(f"domain-{i + 1}" for i in range(_DOMAINS)))
        sizes = tuple(Fidelity(f"size-{i + 1}", cost) for i, cost in enumerate(_COSTS))
        space = Space(simplex, sizes, objective={"score": 1.0})
        rng = np.random.default_rng(seed)
        anywhere = self._scores(simplex.sample(_MIXTURES, rng), -1)
        spread = self._scores(simplex.spread(_MIXTURES, rng), -1)
        self._noise = noise * float(anywhere.std())
        super().__init__(space, float(max(anywhere.max(), spread.max())), float(anywhere.mean()))

    def evaluate(self, mixture: np.ndarray, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """Run a mixture of the simplex, with noise."""
        score = float(self._scores(mixture[None], fidelity)[0] + self._noise * rng.normal())
        return Evaluation(score, np.array([score]), np.array([np.nan]))

    def truth(self, mixture: np.ndarray) -> float:
        """Return the score without noise."""
        return float(self._scores(mixture[None], -1)[0])

    def _scores(self, mixtures: np.ndarray, fidelity: int) -> np.ndarray:
        transfer, importance, part = self._laws[fidelity]
        return part * (np.exp(-np.sqrt(mixtures) @ transfer) @ importance)
