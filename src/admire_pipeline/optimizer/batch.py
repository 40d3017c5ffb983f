"""What a trial of a size is worth together with others of that size.

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
from admire_pipeline.optimizer.surrogate import CHUNK, Surrogate

_LIKELIEST = 4  # of the surrogate's own draws: enough to choose by, not to tell what it is worth
_SHORTLIST = 64  # mixtures whose covariances with one another are worth their price


@one_thread()
def best_batch(gain: KnowledgeGradient, mixtures: np.ndarray, most: int) -> float:
    """Return the largest gain per trial of one mixture, and of others chosen greedily beside it.

    Args:
        gain: Of single trials, at the size in question.
        mixtures: ``n x K``, ``n >= 1``: the one to begin with, and those to choose from.
        most: Largest number of trials, ``MOST`` at most.

    Returns:
        That gain, in units of the score.
    """
    with torch.no_grad():
        candidates = torch.from_numpy(mixtures)
        if min(most, len(mixtures)) == 1:
            return gain.per_trial(candidates[:1])
        return gain.per_trial(candidates[_telling(gain, candidates, most)])


class _View:
    """What trials would show of one quantity, and what it would tell of the options.

    Args:
        surrogate: Of the quantity.
        slopes: ``t``, of the options' values by it.
        gain: Of single trials.
    """

    def __init__(self, surrogate: Surrogate, slopes: Tensor, gain: KnowledgeGradient) -> None:
        self.surrogate = surrogate.likeliest(_LIKELIEST)
        self.options = self.surrogate.moments(gain.options.mixtures, surrogate.target)
        self.slopes = slopes
        self.fidelity, self.noise = gain.fidelity, surrogate.noise(gain.fidelity)

    def spread(self) -> Tensor:
        """Return the variances (``t``) that the options' values have by it."""
        return self.surrogate.variance(self.options) * self.slopes.square()

    def look(self, mixtures: Tensor) -> None:
        """Consider trials of some mixtures (``n x K``)."""
        variances, changes = [], []
        for part in mixtures.split(CHUNK):
            moments = self.surrogate.moments(part, self.fidelity)
            variances.append(self.surrogate.variance(moments) + self.noise)
            changes.append(self.surrogate.covariance(self.options, moments))
        self.variance = torch.cat(variances)
        self.change = self.slopes.unsqueeze(1) * torch.cat(changes, dim=1)

    def look_closer(self, mixtures: Tensor) -> None:
        """Consider how trials of a few mixtures tell of one another, too."""
        self.look(mixtures)
        moments = self.surrogate.moments(mixtures, self.fidelity)
        self.between = self.surrogate.covariance(moments, moments)

    def told(self, hope: Tensor) -> Tensor:
        """Return the variances (``n``) that trials remove from the options, weighted by ``t``."""
        return (hope @ self.change.square()) / self.variance

    def know(self, row: int) -> None:
        """Take the trial of this row for known."""
        known = self.between[row] / self.variance[row]
        self.change = self.change - self.change[:, row : row + 1] * known
        variance = self.variance - self.between[row] * known
        self.variance = variance.clamp_min(self.noise)
        self.between = self.between - torch.outer(self.between[row], known)


def _telling(gain: KnowledgeGradient, mixtures: Tensor, number: int) -> Tensor:
    """Choose rows one by one after the first, each the one that tells most of what may be the best.

    That is the variance that what it shows removes from the options, weighted by the probability
    that an option is better than the best one so far; chosen rows count as known.
    """
    views = [_View(surrogate, slopes, gain) for surrogate, slopes in gain.sensitivities()]
    deviation = torch.stack([view.spread() for view in views]).sum(dim=0).sqrt()
    behind = gain.options.values - gain.options.values.amax()
    hope = torch.special.ndtr(behind / deviation.clamp_min(1e-300)) * gain.options.open

    def told() -> Tensor:
        return torch.stack([view.told(hope) for view in views]).sum(dim=0)

    for view in views:
        view.look(mixtures)
    best = 1 + told()[1:].topk(min(len(mixtures), _SHORTLIST) - 1).indices
    shortlist = torch.cat([best.new_zeros(1), best])
    for view in views:
        view.look_closer(mixtures[shortlist])
    chosen = [0]
    while len(chosen) < min(number, len(shortlist)):
        for view in views:
            view.know(chosen[-1])
        tells = told()
        tells[chosen] = -1
        chosen.append(int(tells.argmax()))
    return shortlist[chosen]
