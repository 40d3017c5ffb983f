"""What several trials of one size are worth together, and with which mixture to begin.

One trial of a small size hardly ever changes which mixture is best, and many do: their value grows
faster than their number before it saturates, and a comparison of single trials would never begin
with the small ones. So sizes are compared by the number of trials that pays best, which is KG(*) of
Frazier and Powell 2010, "Paradoxes in learning and the marginal value of information".
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from admire_pipeline.optimizer.acquisition import KnowledgeGradient
from admire_pipeline.optimizer.numerics import one_thread
from admire_pipeline.optimizer.surrogate import CHUNK

_LIKELIEST = 4  # of the surrogate's own draws: enough to choose by, not to tell what it is worth
_SHORTLIST = 64  # mixtures whose covariances with one another are worth their price


@one_thread()
def best_batch(gain: KnowledgeGradient, mixtures: np.ndarray, most: int) -> tuple[float, int]:
    """Choose mixtures greedily, and the number of them whose gain per trial is largest.

    Args:
        gain: Of single trials, at the size in question.
        mixtures: ``n x K`` to choose from, ``n >= 1``.
        most: Largest number of trials, ``MOST`` at most.

    Returns:
        That gain per trial, in units of the score, and the row of the mixture to begin with.
    """
    with torch.no_grad():
        candidates = torch.from_numpy(mixtures)
        rows = _telling(gain, candidates, min(most, len(mixtures)))
        return gain.per_trial(candidates[rows]), int(rows[0])


def _telling(gain: KnowledgeGradient, mixtures: Tensor, number: int) -> Tensor:
    """Choose rows one by one, each the one that tells most of the options that may be the best.

    That is the variance that its score removes from the options, weighted by the probability that
    an option is better than the best one so far; chosen rows count as known.
    """
    surrogate = gain.surrogate.likeliest(_LIKELIEST)
    options = surrogate.moments(gain.options.mixtures, surrogate.target)
    deviation = surrogate.variance(options).sqrt() * gain.options.open
    behind = gain.options.values - gain.options.values.amax()
    hope = torch.special.ndtr(behind / deviation.clamp_min(1e-300)) * gain.options.open

    variances, changes = [], []
    for part in mixtures.split(CHUNK):
        moments = surrogate.moments(part, gain.fidelity)
        variances.append(surrogate.variance(moments) + gain.noise)
        changes.append(surrogate.covariance(options, moments))
    variance, change = torch.cat(variances), torch.cat(changes, dim=1)
    shortlist = ((hope @ change.square()) / variance).topk(min(len(mixtures), _SHORTLIST)).indices

    moments = surrogate.moments(mixtures[shortlist], gain.fidelity)
    between = surrogate.covariance(moments, moments)
    variance, change = variance[shortlist], change[:, shortlist]
    chosen: list[int] = []
    while len(chosen) < min(number, len(shortlist)):
        told = (hope @ change.square()) / variance
        told[chosen] = -1
        row = int(told.argmax())
        chosen.append(row)
        known = between[row] / variance[row]
        change = change - change[:, row : row + 1] * known
        variance = (variance - between[row] * known).clamp_min(gain.noise)
        between = between - torch.outer(between[row], known)
    return shortlist[chosen]
