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
from admire_pipeline.optimizer.numerics import one_thread, root
from admire_pipeline.optimizer.surrogate import CHUNK, Surrogate

_LIKELIEST = 4  # of the surrogate's own draws: enough to choose by, not to tell what it is worth
_SHORTLIST = 192  # mixtures that get a closer look; a pool may have thousands


@one_thread()
def best_batch(gain: KnowledgeGradient, mixtures: np.ndarray, most: int) -> tuple[float, int]:
    """Find the number of trials whose gain per trial is largest, and the mixture to begin with.

    How much they gain is asked of those that tell most together. The one to begin with is that of
    the largest gain alone: after it everything is decided anew, and telling most of all options is
    not yet telling which of them is the best.

    Args:
        gain: Of single trials, at the size in question.
        mixtures: ``n x K`` to choose from, ``n >= 1``.
        most: Largest number of trials, ``MOST`` at most.

    Returns:
        That gain per trial, in units of the score, and the row of the mixture to begin with.
    """
    with torch.no_grad():
        candidates = torch.from_numpy(mixtures)
        rows, shortlist = _telling(gain, candidates, min(most, len(mixtures)))
        alone = gain(candidates[shortlist].unsqueeze(-2))
        return gain.per_trial(candidates[rows]), int(shortlist[alone.argmax()])


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


def _telling(gain: KnowledgeGradient, mixtures: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Choose rows one by one, each the one that tells most of the options that may be the best.

    That is the variance that what it shows removes from the options, weighted by the probability
    that an option is better than the best one so far; chosen rows count as known.

    Returns:
        These rows, and the shortlist: those of the mixtures that tell most alone.
    """
    views = [_View(surrogate, slopes, gain) for surrogate, slopes in gain.sensitivities()]
    variance = torch.stack([view.spread() for view in views]).sum(dim=0)
    behind = gain.options.values - gain.options.values.amax()
    hope = torch.special.ndtr(behind / root(variance)) * gain.options.open

    for view in views:
        view.look(mixtures)
    told = torch.stack([view.told(hope) for view in views]).sum(dim=0)
    shortlist = told.topk(min(len(mixtures), _SHORTLIST)).indices
    for view in views:
        view.look_closer(mixtures[shortlist])
    chosen: list[int] = []
    while len(chosen) < min(number, len(shortlist)):
        told = torch.stack([view.told(hope) for view in views]).sum(dim=0)
        told[chosen] = -1
        row = int(told.argmax())
        chosen.append(row)
        for view in views:
            view.know(row)
    return shortlist[chosen], shortlist
