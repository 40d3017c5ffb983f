"""Which trials the surrogate is fitted to, where there are more than it can hold."""

from __future__ import annotations

import numpy as np

from admire_pipeline.optimizer.trials import Trials

LIMIT = 360
"""Most trials that the surrogate is fitted to: its time grows with their square, its memory too."""


def representative(trials: Trials) -> Trials:
    """Choose the trials that the surrogate is conditioned on; all of them, up to ``LIMIT``.

    One half are the latest of the largest sizes: a policy tries the target near the best mixtures
    that it knows. The other half are an even choice of the rest, from the first trial on: what lies
    elsewhere, and what the smaller sizes tell. Scores play no part, for trials chosen by their
    scores are the lucky ones, and a model of these believes too much of all mixtures.

    The even choice is of the trials whose numbers the highest powers of two divide, so that it
    hardly changes from one trial to the next.

    Args:
        trials: In the order in which they were made, all observed or all failed.
    """
    if len(trials) <= LIMIT:
        return trials
    numbers = np.arange(1, len(trials) + 1)
    latest_of_largest = np.lexsort((-numbers, -trials.fidelities))
    rest = latest_of_largest[LIMIT // 2 :]
    even = np.lexsort((numbers[rest], -(numbers & -numbers)[rest]))
    keep = np.zeros(len(trials), dtype=bool)
    keep[latest_of_largest[: LIMIT // 2]] = True
    keep[rest[even[: LIMIT - LIMIT // 2]]] = True
    return trials.where(keep)
