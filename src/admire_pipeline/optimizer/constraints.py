"""Constraints on metrics that the recommended mixture is to keep at the target."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Constraint:
    """A bound on the noise-free value of one metric at the target, in the metric's own unit.

    Attributes:
        metric: Its name: one of ``Space.objective``, with weight 0 if the score has no part of it.
        at_least: Least value that is allowed, or else
        at_most: the greatest.
        probability: With which a recommended mixture is to keep it, more than 0 and less than 1.

    Raises:
        ValueError: If there is not exactly one bound, or a number is out of range.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    probability: float = 0.9

    def __post_init__(self) -> None:
        """Check the numbers."""
        given = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if len(given) != 1 or not math.isfinite(given[0]):
            raise ValueError(
                f"constraints.{self.metric}: at_least {self.at_least}, at_most {self.at_most}; "
                "allowed: exactly one of the two, a finite number"
            )
        if not 0 < self.probability < 1:
            raise ValueError(
                f"constraints.{self.metric}.probability: {self.probability}; "
                "allowed: more than 0 and less than 1"
            )

    @property
    def bound(self) -> float:
        """The one bound that is given."""
        return self.at_least if self.at_least is not None else self.at_most or 0.0

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, -1 where less is."""
        return -1 if self.at_least is None else 1

    @property
    def margin(self) -> float:
        """Standard deviations within the bound that have the probability asked for."""
        return NormalDist().inv_cdf(self.probability)

    def likelihood(self, mean: float, deviation: float) -> float:
        """Return the probability that a metric predicted as normal keeps the bound."""
        within = self.sign * (mean - self.bound)
        return NormalDist(sigma=deviation).cdf(within) if deviation > 0 else float(within >= 0)

    def check(self, metrics: Container[str]) -> None:
        """Check that its metric is among those of a space.

        Raises:
            ValueError: If it is not.
        """
        if self.metric not in metrics:
            raise ValueError(
                f"constraints: metric {self.metric!r} is not one of Space.objective; allowed: "
                "those, with weight 0 where the score has no part of it"
            )
