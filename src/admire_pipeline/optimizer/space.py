"""What a campaign searches: the mixtures and the ladder of model sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

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
        pools: For each of the ``M`` fidelities the mixtures (``n x K``) that may be tried there,
            as where finished runs are replayed; empty where the whole simplex may be. A mixture of
            a pool scores what its run has scored: trying it leaves no noise to average over.
        objective: Weight of each metric in the score, which is their weighted sum (so losses have
            negative weights). Empty: policies see the score alone.
        served: Names of the fidelities that a proposal may have, as where a worker trains no
            others; empty: all. What is known of the others counts all the same.

    Raises:
        ValueError: If there is no fidelity, a name is repeated, a cost is not positive or a pool is
            missing or empty.
    """

    mixtures: MixtureSpace
    fidelities: tuple[Fidelity, ...]
    pools: tuple[np.ndarray, ...] = ()
    objective: Mapping[str, float] = field(default_factory=dict)
    served: tuple[str, ...] = ()

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
        sizes = [len(pool) for pool in self.pools]
        if sizes and (len(sizes) != len(names) or not all(sizes)):
            raise ValueError(
                f"pools: {sizes} mixtures, each of {names} needs at least one (or no pools at all)"
            )

    def proposable(self, fidelities: list[int]) -> list[int]:
        """Those of the fidelities (positions) that a proposal may have."""
        names = [fidelity.name for fidelity in self.fidelities]
        return [i for i in fidelities if not self.served or names[i] in self.served]

    @property
    def target(self) -> Fidelity:
        """The fidelity whose score is to be made best."""
        return self.fidelities[-1]

    @property
    def costs(self) -> np.ndarray:
        """Cost (``M``) of one trial at each fidelity."""
        return np.array([fidelity.cost for fidelity in self.fidelities])
