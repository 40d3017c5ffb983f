"""Metrics of every unit and level on one scale, per fidelity."""

from __future__ import annotations

import numpy as np


def standardise(
    values: np.ndarray, groups: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the level and the spread of each group of values.

    Each group's variance is shrunk to that of all, which weighs as much as one value more. A group
    without values has the level of the nearest one.

    Args:
        values: ``n >= 1`` values of one metric.
        groups: ``n`` positions of their groups.
        count: Number of groups ``G``.

    Returns:
        Locations (``G``) and positive scales (``G``).
    """
    sizes = np.bincount(groups, minlength=count)
    present = np.flatnonzero(sizes)
    nearest = [present[np.argmin(np.abs(present - group))] for group in range(count)]
    location = np.array([values[groups == group].mean() for group in nearest])
    squares = np.bincount(groups, weights=(values - location[groups]) ** 2, minlength=count)
    pooled = squares.sum() / max(len(values) - len(present), 1)
    level = float(np.abs(values).max())
    if pooled <= (1e-9 * level) ** 2:
        # All values are equal up to round-off: their spread is unknown, their level is all we have.
        pooled = (level if level > 0 else 1.0) ** 2
    return location, np.sqrt((squares + pooled) / np.maximum(sizes, 1))
