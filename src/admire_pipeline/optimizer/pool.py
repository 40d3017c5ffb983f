"""Pools of mixtures: which of their rows are left to try."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.trials import Trials


def untried(space: Space, trials: Trials, fidelity: int) -> np.ndarray:
    """Return the mixtures of a fidelity's pool that no trial holds, whatever came of it.

    Args:
        space: A space with pools.
        trials: All trials so far, pending and failed ones included.
        fidelity: Position of the fidelity.

    Returns:
        ``n x K`` rows of the pool, bit for bit and in its order; none when it is used up.
    """
    pool = space.pools[fidelity]
    tried = {mixture.tobytes() for mixture in trials.mixtures[trials.fidelities == fidelity]}
    return pool[[mixture.tobytes() not in tried for mixture in pool]]


def find_trial(trials: Trials, mixture: np.ndarray) -> str | None:
    """Return the id of the observed trial of exactly this mixture (``K``), at the largest size."""
    same = np.flatnonzero(trials.observed & np.all(trials.mixtures == mixture, axis=1))
    if not len(same):
        return None
    return trials.names[max(same, key=lambda i: (trials.fidelities[i], i))]
