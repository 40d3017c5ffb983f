"""Metrics of every unit and level on one scale, per fidelity."""

from __future__ import annotations

import numpy as np


def standardise(
    inputs: np.ndarray,
    values: np.ndarray,
    groups: np.ndarray,
    count: int,
    *,
    by_distance: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the level of each group of values, and its spread over the whole space.

    A group may hold mixtures much alike, as trials near the best one are, and their values then
    differ less than those of another group. So the spread is not that of the values: it is their
    sum of squares over that of their inputs. Each group's is shrunk to that of all, which weighs as
    much as one typical mixture. A group without values has the level of the nearest one.

    Args:
        inputs: ``n x K`` embedded mixtures, whose mean square over the space is one.
        values: ``n >= 1`` values of one metric.
        groups: ``n`` positions of their groups.
        count: Number of groups ``G``.
        by_distance: Whether the inputs count as they lie, not as if they filled the space.

    Returns:
        Locations (``G``) and positive scales (``G``).
    """
    members = [np.flatnonzero(groups == group) for group in range(count)]
    present = np.array([group for group in range(count) if len(members[group])])
    nearest = [present[np.argmin(np.abs(present - group))] for group in range(count)]
    location = np.array([values[members[group]].mean() for group in nearest])
    of_values = np.array([_squares(values[member]) for member in members])
    of_inputs = np.array([_squares(inputs[member]) for member in members])
    if not by_distance:
        of_inputs = np.array([max(len(member) - 1.0, 0.0) for member in members])
    pooled = of_values.sum() / max(of_inputs.sum(), 0.01 * len(values))
    level = float(np.abs(values).max())
    if pooled <= (1e-9 * level) ** 2:
        # All values are equal up to round-off: their spread is unknown, their level is all we have.
        pooled = (level if level > 0 else 1.0) ** 2
    return location, np.sqrt((of_values + pooled) / (of_inputs + 1))


def _squares(values: np.ndarray) -> float:
    """Return the sum of squares about the mean of rows."""
    return float(((values - values.mean(axis=0)) ** 2).sum()) if len(values) else 0.0
