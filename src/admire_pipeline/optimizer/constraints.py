"""Bounds on metrics that the recommended mixture is to keep at the target."""

from __future__ import annotations

import math
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
    at_least: float = -math.inf
    at_most: float = math.inf
    probability: float = 0.9

    def __post_init__(self) -> None:
        """Check the numbers."""
        if math.isfinite(self.at_least) == math.isfinite(self.at_most):
            raise ValueError(
                f"constraints.{self.metric}: at_least {self.at_least}, at_most {self.at_most}; "
                "allowed: one of the two, a finite number"
            )
        if not 0 < self.probability < 1:
            raise ValueError(
                f"constraints.{self.metric}.probability: {self.probability}; "
                "allowed: more than 0 and less than 1"
            )

    @property
    def margin(self) -> float:
        """Standard deviations within the bound that have the probability asked for."""
        return NormalDist().inv_cdf(self.probability)

    def likelihood(self, mean: float, deviation: float) -> float:
        """Return the probability that a metric predicted as normal keeps the bound."""
        within = min(mean - self.at_least, self.at_most - mean)
        return NormalDist(sigma=deviation).cdf(within) if deviation > 0 else float(within >= 0)
