"""What a campaign searches: the mixtures and the ladder of model sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from admire_pipeline.mixture import MixtureSpace


@dataclass(frozen=True)
class Fidelity:
    """A model size and its training recipe.

    Attributes:
        name: Unique name.
        cost: What one trial costs, in the campaign's unit; greater than 0.
    """

    name: str
    cost: float


@dataclass(frozen=True)
class Space:
    """Everything a trial may be: a feasible mixture at one of the fidelities.

    Attributes:
        mixtures: The constrained simplex.
        fidelities: At least one, ordered from small to large; the last one is the target.

    Raises:
        ValueError: If there is no fidelity, a name is repeated or a cost is not positive.
    """

    mixtures: MixtureSpace
    fidelities: tuple[Fidelity, ...]

    def __post_init__(self) -> None:
        """Check the fidelities."""
        object.__setattr__(self, "fidelities", tuple(self.fidelities))
        names = [fidelity.name for fidelity in self.fidelities]
        if not names:
            raise ValueError("fidelities: none given, at least 1 is needed")
        for fidelity in self.fidelities:
            if names.count(fidelity.name) > 1:
                raise ValueError(f"fidelities: {fidelity.name!r} is named twice")
            if not (fidelity.cost > 0 and math.isfinite(fidelity.cost)):
                raise ValueError(
                    f"fidelities.{fidelity.name}.cost: {fidelity.cost}, must be greater than 0"
                )

    @property
    def target(self) -> Fidelity:
        """The fidelity whose score is to be made best."""
        return self.fidelities[-1]
