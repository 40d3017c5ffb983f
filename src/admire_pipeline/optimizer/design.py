"""The set-up phase: a few mixtures that tell the surrogate where to begin."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.pool import untried
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials

CREDIT = 0.1
"""What the smaller sizes may cost together, in trainings of the target, before trials of the target
have shown what they are worth."""

LEAST = 6
"""Trials of the set-up phase, at least."""

SPENT = 4.0
"""What its trials of the smallest size may cost together, in trainings of the target: the premium
against a bad start, lost where that size turns out to mislead."""

_SPARSEST = 2.0
"""Sum of the concentrations of its sparsest mixtures, where two or three domains have nearly all;
such mixtures tell most of each."""


def in_set_up(
    space: Space, trials: Trials, fidelities: list[int], design_trials: int | None
) -> bool:
    """Tell whether the next trial belongs to the set-up phase on the simplex.

    It ends after as many trials of the smallest size as there are domains. With fewer the surrogate
    cannot tell the domains apart, and the trial that seems to gain most is one of the target near
    the best so far; nothing shows it that many small ones would have found a better region.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included.
        fidelities: Positions of those that may be tried now (``open_fidelities``).
        design_trials: The phase's length where the user set it, else None.
    """
    if design_trials is not None:
        return len(trials) < design_trials
    if len(trials) < LEAST:
        return True
    if fidelities[0] > 0:  # the target alone, for good or because the credit is spent
        return False
    paid_for = int(SPENT * space.target.cost / space.fidelities[0].cost)
    return int((trials.fidelities == 0).sum()) < min(len(space.mixtures), paid_for)


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
    told = trials.observed | trials.pending
    if int((told & (trials.fidelities == target)).sum()) >= proof_trials:
        return list(range(target + 1))
    costs = np.array([fidelity.cost for fidelity in space.fidelities])
    left = _credit(space) - costs[trials.fidelities[trials.fidelities < target]].sum()
    affordable = [size for size in range(target) if costs[size] <= left * (1 + 1e-9)]
    if space.pools:
        affordable = [size for size in affordable if len(untried(space, trials, size))]
    return affordable or [target]


def next_design_mixture(
    space: Space, trials: Trials, seed: int, fidelity: int, *, sparse: bool = True
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
        sparse: Down to mixtures of a few domains, however many there are.
    """
    least = {"sparsest": min(0.5, _SPARSEST / len(space.mixtures))} if sparse else {}
    mixtures = space.mixtures.design(len(trials) + 1, np.random.default_rng(seed), **least)
    for mixture in mixtures:
        if not trials.holds(mixture, fidelity):
            break
    return mixture


def _credit(space: Space) -> float:
    """What the smaller sizes may cost together before the target has been tried."""
    credit = CREDIT * space.target.cost
    affordable = credit / space.fidelities[0].cost * (1 + 1e-9) >= len(space.mixtures)
    return credit if affordable else 0.0
