"""The set-up phase: mixtures that tell the surrogate where to begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from admire_pipeline.optimizer.policy import PolicySettings
from admire_pipeline.optimizer.pool import untried
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials

SET_UP_COST = 6.0
"""What the set-up phase may cost, in trainings of the target: the premium against a bad start, lost
where the small sizes turn out to mislead."""


@dataclass(frozen=True)
class Rules:
    """Rules beside the surrogate, each of which the ablation takes back in turn.

    Attributes:
        credit: What the smaller sizes may cost together, in trainings of the target, before trials
            of the target have shown what they are worth.
        even: The first mixtures at the target are of many domains (on the simplex).
        tied: What is tried at the target comes at the smallest size too (on the simplex).
        trusted: Up to so many observed trials a mixture that was never tried is not recommended
            (on the simplex).
        caution: Standard deviations that are taken off predicted scores where mixtures are compared
            for the recommendation (on the simplex).
        proof: Where smaller sizes come first, a trial of the target shows what they are worth.
    """

    credit: float = 0.1
    even: bool = True
    tied: bool = True
    trusted: int = 6
    caution: float = 0.5
    proof: bool = True


def in_set_up(
    space: Space, trials: Trials, fidelities: list[int], settings: PolicySettings
) -> bool:
    """Tell whether the next trial belongs to the set-up phase on the simplex.

    Where the user has not set its length, it ends with as many trials as there are domains beside
    those of the target that prove the smaller sizes (``proof_trials``), or with the last one that
    ``SET_UP_COST`` pays for. With fewer the surrogate cannot tell the domains apart, and the trial
    that seems to gain most is one of the target near the best so far; nothing shows it that many
    small ones would have found a better region.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included; those of a warm start count.
        fidelities: Positions of those that may be tried now (``open_fidelities``).
        settings: What the user set.
    """
    if settings.design_trials is not None:
        return len(trials) < settings.design_trials
    spent = space.costs[trials.fidelities].sum() + space.costs[fidelities[0]]
    if spent > SET_UP_COST * space.target.cost * (1 + 1e-9):
        return False
    return int(trials.telling.sum()) < len(space.mixtures) + settings.proof_trials


def open_fidelities(
    space: Space, trials: Trials, proof_trials: int, credit: float = Rules.credit
) -> list[int]:
    """Return the positions of the fidelities that the next trial may have, smallest first.

    Until the target has been tried a few times nothing tells whether smaller sizes inform, and one
    that misleads would be paid for and believed. So they come first only where they are next to
    free: a tenth of a training of the target must pay for as many trials of the smallest size as
    there are domains, since fewer do not even tell the domains apart. It is spent on them before
    anything else. Where they are dearer the target comes first.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included.
        proof_trials: Trials of the target that open all sizes.
        credit: Trainings of the target that the smaller sizes may cost before.
    """
    target = len(space.fidelities) - 1
    if int((trials.telling & (trials.fidelities == target)).sum()) >= proof_trials:
        return list(range(target + 1))
    costs = space.costs
    left = _credit(space, credit) - costs[trials.fidelities[trials.fidelities < target]].sum()
    affordable = [size for size in range(target) if costs[size] <= left * (1 + 1e-9)]
    if space.pools:
        affordable = [size for size in affordable if len(untried(space, trials, size))]
    return affordable or [target]


def proves(space: Space, trials: Trials, fidelities: list[int], proof_trials: int) -> bool:
    """Tell whether the next trial is to show what the smaller sizes that were tried are worth.

    The first trial at the target is of what these promise most, but it tells little of them: at
    each size the level of the scores is free. It takes a second one, and if that is again of a
    mixture that they promise much of, the two are alike and still tell little. So the proof trials
    after the first are of mixtures by which the models of how sizes agree can be told apart.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included.
        fidelities: Positions of those that may be tried now (``open_fidelities``).
        proof_trials: Trials of the target that open all sizes.
    """
    target = len(space.fidelities) - 1
    at_target = trials.telling & (trials.fidelities == target)
    smaller = trials.observed & (trials.fidelities < target)
    proving = 1 <= int(at_target.sum()) < proof_trials
    return proving and fidelities == [target] and bool(smaller.any())


def next_design_mixture(  # noqa: PLR0913
    space: Space, trials: Trials, seed: int, fidelity: int, *, even: int, tied: bool = True
) -> np.ndarray:
    """Return the first mixture (``K``) of the campaign's design that no trial of a size holds yet.

    The design depends on the seed alone, and a mixture that left the table (it failed under another
    recipe) comes again, so a restarted campaign and workers that run at once keep to one design.
    All sizes have the same one: the uniform mixture first, as the mark to beat, and what was tried
    at the target comes at the smallest size too, which ties the sizes together.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included.
        seed: Seed of the campaign.
        fidelity: Position of the size.
        even: So many at the beginning are mixtures of many domains: the target tries those.
        tied: Whether mixtures that another size holds come too.
    """
    mixtures = space.mixtures.design(len(trials) + 1, np.random.default_rng(seed), even=even)
    sizes = [fidelity] if tied else range(len(space.fidelities))
    held = np.any([trials.holds(mixtures, size) for size in sizes], axis=0)
    new = np.flatnonzero(~held)
    return np.asarray(mixtures[new[0] if len(new) else -1])


def _credit(space: Space, trainings: float) -> float:
    """What the smaller sizes may cost together before the target has been tried."""
    credit = trainings * space.target.cost
    affordable = credit / space.fidelities[0].cost * (1 + 1e-9) >= len(space.mixtures)
    return credit if affordable else 0.0
