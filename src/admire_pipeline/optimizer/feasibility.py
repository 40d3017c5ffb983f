"""How likely mixtures are to keep the constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from admire_pipeline.optimizer.belief import believe
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.numerics import root
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.surrogate import Surrogate
from admire_pipeline.optimizer.trials import Trials


@dataclass(frozen=True)
class FittedConstraint:
    """A constraint, and what the trials tell of its metric.

    Attributes:
        constraint: The bound.
        surrogate: Of the metric alone.
    """

    constraint: Constraint
    surrogate: Surrogate

    def believe(self, trials: Trials) -> FittedConstraint:
        """Condition on trials without scores."""
        return replace(self, surrogate=believe(self.surrogate, trials))

    def margins(self, mixtures: Tensor) -> Tensor:
        """Return by how many standard deviations mixtures (``b x K``) are predicted to keep it."""
        moments = self.surrogate.moments(mixtures, self.surrogate.target)
        return self.standardised(moments.mean, self.surrogate.variance(moments))

    def standardised(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return such margins from moments of the metric."""
        within = self.constraint.sign * (mean - self.constraint.bound)
        return within / root(variance)


def fit_constraints(
    space: Space, seen: Trials, constraints: Sequence[Constraint], settings: SurrogateSettings
) -> tuple[FittedConstraint, ...]:
    """Fit a surrogate to the metric of each constraint, by itself.

    Args:
        space: The campaign's space.
        seen: Observed trials.
        constraints: Of metrics of the space's objective.
        settings: Choices in the surrogates.

    Returns:
        Those of whose metric some trial tells.
    """
    fitted = []
    for constraint in constraints:
        column = list(space.objective).index(constraint.metric)
        known = seen.where(np.isfinite(seen.metrics[:, column]))
        if not len(known):
            continue
        alone = replace(
            known,
            scores=known.metrics[:, column],
            score_errors=known.metric_errors[:, column],
            metrics=known.metrics[:, :0],
            metric_errors=known.metrics[:, :0],
        )
        fitted.append(
            FittedConstraint(constraint, fit(replace(space, objective={}), alone, settings))
        )
    return tuple(fitted)
