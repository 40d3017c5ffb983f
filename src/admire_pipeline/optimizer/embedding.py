"""Where mixtures lie for the surrogate: on one scale, whatever the bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import SAME_MIXTURE

# The square root has no slope at 0; a weight below this is as good as 0.
_EMBEDDING_FLOOR = 1e-4
_REFERENCE = 256  # mixtures that show how large the space is


@dataclass(frozen=True)
class Embedding:
    """Where a mixture lies: centred, and scaled to the space.

    Attributes:
        roots: Whether weights enter by their square roots.
        centre: ``K`` coordinates of the space's mean.
        unit: Root mean square distance of its mixtures from that.
    """

    roots: bool
    centre: Tensor
    unit: float

    @classmethod
    def of(cls, space: Space, roots: bool) -> Embedding:
        """Take the measure of a space: of the target's pool, or of uniform draws."""
        if space.pools:
            mixtures = space.pools[-1]
        else:
            mixtures = space.mixtures.sample(_REFERENCE, np.random.default_rng(0))
        raw = cls(roots, torch.zeros(len(space.mixtures), dtype=torch.float64), 1.0)
        points = raw(torch.from_numpy(mixtures))
        centre = points.mean(dim=0)
        unit = float((points - centre).square().sum(dim=1).mean().sqrt())
        # Where the bounds leave hardly more than one mixture, trials beyond them stay in reach.
        return cls(roots, centre, max(unit, SAME_MIXTURE))

    def __call__(self, mixtures: Tensor) -> Tensor:
        """Embed mixtures (``... x K``)."""
        inputs = (mixtures.clamp_min(0) + _EMBEDDING_FLOOR).sqrt() if self.roots else mixtures
        return (inputs - self.centre) / self.unit
