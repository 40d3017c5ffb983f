"""The set-up phase: a few mixtures that tell the surrogate where to begin."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.pool import untried
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials

CREDIT = 0.1
"""What the smaller sizes may cost together, in trainings of the target, before trials of the target
have shown what they are worth."""


def open_fidelities(space: Space, trials: Trials, proof_trials: int) -> list[int]:
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
    """
    target = len(space.fidelities) - 1
    if _proven(space, trials, proof_trials):
        return list(range(target + 1))
    costs = np.array([fidelity.cost for fidelity in space.fidelities])
    left = _credit(space) - costs[trials.fidelities[trials.fidelities < target]].sum()
    affordable = [size for size in range(target) if costs[size] <= left * (1 + 1e-9)]
    if space.pools:
        affordable = [size for size in affordable if len(untried(space, trials, size))]
    return affordable or [target]


def next_design_point(
    space: Space, trials: Trials, seed: int, proof_trials: int, *, target_only: bool = False
) -> tuple[np.ndarray, int]:
    """Return the first point of the campaign's design that no trial holds yet.

    The design depends on the seed alone, and a point that left the table (it failed under another
    recipe) comes again, so a restarted campaign and workers that run at once keep to one design.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included.
        seed: Seed of the campaign.
        proof_trials: Trials of the target before smaller sizes that are not next to free.
        target_only: Put every point at the target.

    Returns:
        The mixture (``K``) and the position of its fidelity.
    """
    length = len(trials) + 1
    mixtures = space.mixtures.design(length, np.random.default_rng(seed))
    target = len(space.fidelities) - 1
    if target_only or target == 0:
        points = [(i, target) for i in range(length)]
    else:
        points = _ladder(space, length, proven=_proven(space, trials, proof_trials))
    for index, fidelity in points:
        if not trials.holds(mixtures[index], fidelity):
            break
    return mixtures[index], fidelity


def _ladder(space: Space, length: int, *, proven: bool) -> list[tuple[int, int]]:
    """Spread ``length`` design points over fidelities, as (mixture, fidelity) positions.

    New mixtures go to the smallest size as far as the credit pays for them. Then the first ones,
    the uniform mixture before all, are tried at the target, as the mark to beat, until it has
    proven what the sizes are worth, and the rest of the design at the smallest size, the same
    mixtures first, which ties the sizes together.
    """
    target = len(space.fidelities) - 1
    small = [(i, 0) for i in range(length)]
    if proven:
        return small
    paid = int(_credit(space) / space.fidelities[0].cost * (1 + 1e-9))
    return small[:paid] + [(i, target) for i in range(length)]


def _proven(space: Space, trials: Trials, proof_trials: int) -> bool:
    """Tell whether the target was tried often enough; a failed trial tells nothing."""
    told = trials.observed | trials.pending
    return int((told & (trials.fidelities == len(space.fidelities) - 1)).sum()) >= proof_trials


def _credit(space: Space) -> float:
    """What the smaller sizes may cost together before the target has been tried."""
    credit = CREDIT * space.target.cost
    affordable = credit / space.fidelities[0].cost * (1 + 1e-9) >= len(space.mixtures)
    return credit if affordable else 0.0
