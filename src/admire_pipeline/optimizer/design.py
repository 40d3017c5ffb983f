"""The set-up phase: a few mixtures that tell the surrogate where to begin."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials


def next_design_point(
    space: Space, trials: Trials, seed: int, *, target_only: bool = False
) -> tuple[np.ndarray, int]:
    """Return the first point of the campaign's design that no trial holds yet.

    The design depends on the seed alone, and a point that left the table (it failed under another
    recipe) comes again, so a restarted campaign and workers that run at once keep to one design.

    Args:
        space: The campaign's space.
        trials: All trials so far, pending and failed ones included.
        seed: Seed of the campaign.
        target_only: Put every point at the target.

    Returns:
        The mixture (``K``) and the position of its fidelity.
    """
    length = len(trials) + 1
    mixtures = space.mixtures.design(length, np.random.default_rng(seed))
    target = len(space.fidelities) - 1
    points = [(i, target) for i in range(length)] if target_only else _ladder(length, target)
    for index, fidelity in points:
        if not trials.holds(mixtures[index], fidelity):
            break
    return mixtures[index], fidelity


def _ladder(length: int, target: int) -> list[tuple[int, int]]:
    """Spread ``length`` design points over fidelities, as (mixture, fidelity) positions.

    New mixtures go to the smallest size, where they are cheap. The first one, the uniform mixture,
    is repeated at the target after two trials, as the mark to beat, and the two after it are
    repeated in turns at the sizes in between, which ties the sizes together.
    """
    points = [(i, 0) for i in range(length)]
    if target > 0:
        points.insert(2, (0, target))
    for fidelity in range(1, target):
        points.insert(3 + fidelity, (2 - fidelity % 2, fidelity))
    return points[:length]
