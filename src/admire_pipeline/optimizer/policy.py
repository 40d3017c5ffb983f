"""What a policy is asked for and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials


@dataclass(frozen=True)
class PolicySettings:
    """What a user may set about a policy.

    Attributes:
        design_trials: Trials of the set-up phase on the simplex, before the surrogate chooses; at
            least 1. None: as many as it takes to tell the domains apart (``design.in_set_up``).
        proof_trials: Trials of the target before smaller sizes that are not next to free, and where
            these come first, before they go on; at least 0, which takes for granted that they tell
            of the target.

    Raises:
        ValueError: If a setting is out of range.
    """

    design_trials: int | None = None
    proof_trials: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.design_trials is not None and self.design_trials < 1:
            raise ValueError(f"design_trials: {self.design_trials}, must be at least 1")
        if self.proof_trials < 0:
            raise ValueError(f"proof_trials: {self.proof_trials}, must be at least 0")


@dataclass(frozen=True)
class Proposal:
    """The next trial to run.

    Attributes:
        mixture: ``K`` feasible weights.
        fidelity: Name of the fidelity to train.
        cost: Expected cost in the campaign's unit.
        policy: Name of the policy that proposed it.
        phase: ``design`` (set-up), ``proof`` (of the smaller sizes) or ``search``.
        acquisition_value: Value of the acquisition function, which each phase has its own of; None
            where there is none.
        based_on: Ids of the observed trials that the proposal rests on.
    """

    mixture: np.ndarray
    fidelity: str
    cost: float
    policy: str
    phase: str
    acquisition_value: float | None
    based_on: tuple[str, ...]


@dataclass(frozen=True)
class Recommendation:
    """The mixture to train the final model on, as far as is known.

    Attributes:
        mixture: ``K`` feasible weights.
        score_mean: Predicted score at the target.
        score_sd: Standard deviation of that prediction, without the noise of a single training;
            NaN where the policy has no surrogate and the trial no standard error.
        trial: Id of a trial of this mixture, None for a mixture that was never tried.
        metrics: Predicted mean and standard deviation of each metric of the objective at the
            target, in the metric's own unit; empty where the policy models the score alone.
    """

    mixture: np.ndarray
    score_mean: float
    score_sd: float
    trial: str | None
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class NothingToPropose(Exception):
    """The policy has no further trial: its pool is used up, or it was done after the last one."""


class Policy(ABC):
    """Chooses trials and recommends a mixture.

    Attributes:
        name: Name in the configuration.
        settings: What the user set.
    """

    name: str

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings

    @abstractmethod
    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Choose the next trial; the same arguments give the same proposal.

        Raises:
            NothingToPropose: If there is none.
        """

    @abstractmethod
    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Recommend a mixture for the target, None while nothing usable is observed."""

    def _proposable(self, space: Space, fidelities: list[int]) -> list[int]:
        """Return those of the policy's fidelities (positions) that a proposal may have.

        Raises:
            NothingToPropose: If there is none.
        """
        offered = space.proposable(fidelities)
        if not offered:
            names = [space.fidelities[i].name for i in fidelities]
            raise NothingToPropose(f"policy {self.name!r} proposes trials at {names} alone")
        return offered

    def _proposal(
        self,
        space: Space,
        mixture: np.ndarray,
        fidelity: int,
        *,
        phase: str,
        acquisition_value: float | None = None,
        based_on: tuple[str, ...] = (),
    ) -> Proposal:
        """Fill in a proposal of a mixture (``K``) at the fidelity of this position."""
        chosen = space.fidelities[fidelity]
        return Proposal(
            # A mixture of a pool is a name for its run: it stays as it is, bit for bit.
            mixture=mixture if space.pools else space.mixtures.project(mixture),
            fidelity=chosen.name,
            cost=chosen.cost,
            policy=self.name,
            phase=phase,
            acquisition_value=acquisition_value,
            based_on=based_on,
        )


def trial_rng(seed: int, trials: Trials) -> np.random.Generator:
    """Return the random stream of the next trial of a campaign with this seed."""
    return np.random.default_rng([seed, len(trials)])
