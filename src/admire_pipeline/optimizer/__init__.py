"""The optimizer as a library: a space, a table of trials, ``propose`` and ``recommend``.

It knows neither Kedro nor MLflow. BoTorch is imported when a policy that needs it is made, so that
importing this package is cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from admire_pipeline.optimizer.policy import (
    NothingToPropose,
    Policy,
    PolicySettings,
    Proposal,
    Recommendation,
)
from admire_pipeline.optimizer.space import Fidelity, Space
from admire_pipeline.optimizer.trials import Trials

if TYPE_CHECKING:
    import pandas as pd

    from admire_pipeline.optimizer.constraints import Constraint

__all__ = [
    "POLICIES",
    "Fidelity",
    "NothingToPropose",
    "Policy",
    "PolicySettings",
    "Proposal",
    "Recommendation",
    "Space",
    "Trials",
    "make_policy",
    "propose",
    "recommend",
]

POLICIES = {
    "admire": "bayesian.Admire",
    "admire-target": "bayesian.AdmireTarget",
    "admire-mfbo": "published.AdmireMfbo",
    "admire-bo": "published.AdmireBo",
    "random": "random_search.RandomSearch",
}
"""Where each policy is found, by its name in the configuration; the first is the default."""


CONSTRAINED = ("admire", "admire-target")
"""Policies that heed constraints."""


def make_policy(
    name: str = "admire",
    settings: PolicySettings | None = None,
    constraints: Sequence[Constraint] = (),
) -> Policy:
    """Make a policy by name.

    Args:
        name: One of ``POLICIES``.
        settings: What the user set; defaults where None.
        constraints: Bounds on metrics that the recommended mixture is to keep.

    Returns:
        The policy.

    Raises:
        ValueError: If there is no policy of that name, or it does not heed constraints.
    """
    if name not in POLICIES:
        near = get_close_matches(name, POLICIES, n=1, cutoff=0.0)[0]
        raise ValueError(f"policy: {name!r} is not one of {list(POLICIES)}, did you mean {near!r}?")
    if constraints and name not in CONSTRAINED:
        raise ValueError(
            f"policy: {name!r} does not heed constraints (of {constraints[0].metric!r}); allowed "
            f"with them: {', '.join(CONSTRAINED)}"
        )
    choices: dict[str, Any] = {"constraints": constraints} if constraints else {}
    module, _, attribute = POLICIES[name].partition(".")
    policy: Policy = getattr(import_module(f"{__name__}.{module}"), attribute)(
        settings or PolicySettings(), **choices
    )
    return policy


def propose(space: Space, trials: pd.DataFrame, policy: Policy, seed: int) -> Proposal:
    """Choose the next trial of a campaign.

    Args:
        space: The campaign's space.
        trials: The trials table, see ``Trials.from_frame``.
        policy: How to choose.
        seed: Seed of the campaign, at least 0. The same table and seed give the same proposal.

    Returns:
        A feasible proposal.

    Raises:
        NothingToPropose: If the policy has no further trial.
        ValueError: If the table is not valid.
    """
    return policy.propose(space, Trials.from_frame(space, trials), seed)


def recommend(
    space: Space, trials: pd.DataFrame, policy: Policy, seed: int
) -> Recommendation | None:
    """Recommend a mixture for the target model.

    Args:
        space: The campaign's space.
        trials: The trials table, see ``Trials.from_frame``.
        policy: How to recommend.
        seed: Seed of the campaign, at least 0.

    Returns:
        A feasible recommendation, None while nothing that the policy can use is observed.

    Raises:
        ValueError: If the table is not valid.
    """
    return policy.recommend(space, Trials.from_frame(space, trials), seed)
