"""Arithmetic of regret curves: steps at cumulative costs, constant in between.

A curve is two arrays of ``n >= 1``: cumulative costs, ascending and starting at 0, and the values
that hold from each cost on, up to and without the next one. The last one holds for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from admire_pipeline.replay.campaign import Step

LEVELS = (0.5, 0.2, 0.1, 0.05)
"""Normalised regrets whose cost is reported."""

LEAST_SEEDS = 3
"""With fewer there is no interval."""

_ROUND_OFF = 1e-9
"""Relative; costs are sums, so that 0.1 + 0.2 must not come after 0.3."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Curve:
    """A step curve.

    Attributes:
        costs: ``n >= 1`` cumulative costs, ascending from 0, in trainings of the target.
        values: ``n`` values, e.g. normalised regrets.

    Raises:
        ValueError: If the shapes differ, or the costs do not ascend from 0.
    """

    costs: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        """Check the costs."""
        if self.costs.shape != self.values.shape or self.costs.ndim != 1 or not len(self.costs):
            raise ValueError(
                f"curve: shapes {self.costs.shape} and {self.values.shape}, both must be (n,)"
            )
        if self.costs[0] != 0 or np.any(np.diff(self.costs) < 0):
            raise ValueError("curve: costs must start at 0 and ascend")

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Curve:
        """Take the honest regrets of a replayed campaign."""
        return cls(np.array([s.cost for s in steps]), np.array([s.honest for s in steps]))

    def at(self, grid: np.ndarray | float) -> np.ndarray:
        """Return the values that hold at costs of at least 0 (any shape)."""
        grid = np.asarray(grid, dtype=np.float64)
        last = np.searchsorted(self.costs, grid * (1 + _ROUND_OFF), side="right") - 1
        return np.asarray(self.values[last])

    def area(self, until: float) -> float:
        """Return the area under the curve from 0 to a cost, over that cost: the mean value.

        So it has the unit of the values: with regrets it is 1 for random picks all along.
        """
        inside = self.costs < until
        ends = np.append(self.costs[inside], until)
        return float(np.sum(self.values[inside] * np.diff(ends)) / until)

    def reach(self, level: float) -> float:
        """Return the least cost from which on the values stay at or below a level, or inf."""
        above = np.flatnonzero(self.values > level + _ROUND_OFF)
        if not len(above):
            return 0.0
        after = int(above[-1]) + 1
        return float(self.costs[after]) if after < len(self.costs) else float("inf")


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Average curves; the mean has a step wherever one of them has.

    Args:
        curves: At least one.
    """
    grid = np.unique(np.concatenate([curve.costs for curve in curves]))
    return Curve(grid, np.mean([curve.at(grid) for curve in curves], axis=0))


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(values: np.ndarray) -> Interval:
    """Resample seeds with replacement for the interval of a mean (percentile bootstrap).

    Differences to another policy go in seed by seed, so that what a seed makes hard for both
    cancels. The resampling is always the same.

    Args:
        values: ``n >= 1`` values, one a seed; below ``LEAST_SEEDS`` the ends are NaN.
    """
    if len(values) < LEAST_SEEDS:
        return Interval(float(np.mean(values)), np.nan, np.nan)
    rng = np.random.default_rng(0)
    means = rng.choice(values, size=(_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high))
