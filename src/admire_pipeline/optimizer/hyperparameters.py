"""What the surrogate does not know about itself: draws of its hyperparameters from their prior."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

# Standardised metrics have variance one over the space. Each pair is the mean and the standard
# deviation of a normal prior. They are weak on purpose, as users bring tables of every kind.
_LINEAR_LOGIT = (0.0, 1.5)  # share of the variance that is linear in the embedded mixture
_LOG_LENGTHSCALE = (-0.5, 0.5)  # in root mean square distances from the space's centre
_LOG_NOISE = (-1.5, 1.5)  # variance
_LOG_SPREAD = (0.0, 0.3)  # of each size, a correction of the standardisation
# Entry below the diagonal of the triangle of correlations: with the size next to the target the
# correlation is 0.7 at the median and below 0 with probability 0.16.
_CORRELATION = (1.0, 1.0)
_ALONE = 1 / 8  # of the draws: in these no size tells anything of the target


@dataclass(frozen=True)
class Hyperparameters:
    """``S`` draws of the hyperparameters for ``M`` fidelities.

    Attributes:
        linear: ``S`` shares of the linear part in the variance; the rest is Matern-5/2.
        lengthscale: ``S`` lengthscales of that.
        noise: ``S x M`` variances of the noise of one trial.
        coregion: ``S x M x M`` covariances between fidelities.
    """

    linear: Tensor
    lengthscale: Tensor
    noise: Tensor
    coregion: Tensor

    def __len__(self) -> int:
        """Return the number of draws."""
        return len(self.linear)

    def __getitem__(self, chosen: Tensor | slice) -> Hyperparameters:
        """Return some of the draws."""
        return Hyperparameters(*(getattr(self, field.name)[chosen] for field in fields(self)))


@cache
def draw_hyperparameters(
    count: int,
    fidelities: int,
    *,
    one_noise: bool = False,
    linear: bool = True,
    guard: bool = True,
    skip: int = 0,
) -> Hyperparameters:
    """Draw hyperparameters from their prior by a scrambled Sobol sequence, always the same ones.

    The correlations between fidelities are ``L L'`` where ``L`` is a unit lower triangle with its
    rows normalised and the target in its first row, so that its first column holds the
    correlations with the target; the entries below its diagonal are normal (Bonilla et al. 2007
    for the coregionalization). Both signs occur: there are draws in which a size ranks mixtures the
    other way round. The more sizes, the rarer draws in which none tells of the target, which are a
    model of the target alone: the guard makes an eighth of them so.

    Args:
        count: Number of draws ``S``.
        fidelities: Their number ``M``; the target is the last.
        one_noise: Give all fidelities the same noise.
        linear: Have a linear part, not the Matern part alone.
        guard: Make a model of the target alone of some of the draws.
        skip: Leave out so many draws of the sequence.
    """
    rows, columns = torch.tril_indices(fidelities, fidelities, -1)
    sizes = (1, 1, fidelities, fidelities, len(rows))
    engine = torch.quasirandom.SobolEngine(sum(sizes), scramble=True, seed=0)
    engine.fast_forward(skip)
    uniform = engine.draw(count, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    share, lengthscale, noise, spread, entries = torch.special.ndtri(uniform).split(sizes, dim=1)
    triangle = torch.eye(fidelities, dtype=torch.float64).repeat(count, 1, 1)
    triangle[:, rows, columns] = _scaled(entries, _CORRELATION)
    if guard:
        # The last ones: a block of the sequence covers the other hyperparameters evenly.
        triangle[count - round(count * _ALONE) :, 1:, 0] = 0
    root = torch.nn.functional.normalize(triangle, dim=-1).flip(1)
    spread = _scaled(spread, _LOG_SPREAD).exp()
    if one_noise:
        noise = noise[:, :1].expand(-1, fidelities)
    return Hyperparameters(
        linear=_scaled(share[:, 0], _LINEAR_LOGIT).sigmoid() * linear,
        lengthscale=_scaled(lengthscale[:, 0], _LOG_LENGTHSCALE).exp(),
        noise=_scaled(noise, _LOG_NOISE).exp(),
        coregion=spread.unsqueeze(2) * (root @ root.transpose(1, 2)) * spread.unsqueeze(1),
    )


def cross(bases: Hyperparameters, others: Hyperparameters) -> Hyperparameters:
    """Return every draw of ``bases`` as it is, and with the coregionalization of every other one.

    Args:
        bases: ``S`` draws.
        others: ``R`` draws.

    Returns:
        ``S (R + 1)`` draws; as the prior of both parts is a product, all are as probable before the
        trials.
    """
    count = 1 + len(others)
    swapped = others.coregion.expand(len(bases), -1, -1, -1)
    return Hyperparameters(
        linear=bases.linear.repeat_interleave(count),
        lengthscale=bases.lengthscale.repeat_interleave(count),
        noise=bases.noise.repeat_interleave(count, dim=0),
        coregion=torch.cat([bases.coregion.unsqueeze(1), swapped], dim=1).flatten(0, 1),
    )


def _scaled(normal: Tensor, prior: tuple[float, float]) -> Tensor:
    return prior[0] + prior[1] * normal
