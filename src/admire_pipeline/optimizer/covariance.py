"""How metrics of mixtures and fidelities vary together, before any trial."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from admire_pipeline.optimizer.hyperparameters import Hyperparameters

LEVEL_VARIANCE = 100.0
"""Of the level of a fidelity, in squared spreads of its metrics. It is all but unknown before the
first trial there, so that this trial tells where the size lies and nothing of its mixture."""


def covariance(
    draws: Hyperparameters, left: Tensor, here: Tensor, right: Tensor, there: Tensor
) -> Tensor:
    """Return the prior covariances of ``S`` draws, ``S x b x c``.

    Intrinsic coregionalization of a linear and a Matern-5/2 part, and one free level per fidelity::

        (a x.x' + (1 - a) Matern(|x - x'| / l)) B[m, m'] + v [m = m']

    Args:
        draws: Hyperparameters.
        left: ``b x K`` embedded mixtures.
        here: ``b`` positions of their fidelities.
        right: ``c x K`` embedded mixtures.
        there: ``c`` positions of their fidelities.
    """
    # Nearly all of a fit's time goes here, into passes over S x b x c numbers: few and fused ones.
    scaled = torch.cdist(left, right) * (math.sqrt(5) / draws.lengthscale)[:, None, None]
    smooth = torch.addcmul(1 + scaled, scaled, scaled, value=1 / 3) * torch.exp(-scaled)
    mixed = torch.lerp(smooth, left @ right.T, draws.linear[:, None, None])
    # A product with rows of the unit matrix is a much faster look-up than an index.
    unit = torch.eye(draws.coregion.shape[1], dtype=left.dtype)
    between = unit[here] @ draws.coregion @ unit[there].T
    level = LEVEL_VARIANCE * (here.unsqueeze(1) == there.unsqueeze(0))
    return torch.addcmul(level.to(mixed), mixed, between)
