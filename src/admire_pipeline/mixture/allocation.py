"""From weights to whole counts."""

from __future__ import annotations

import numpy as np


def allocate(weights: np.ndarray, total: int) -> np.ndarray:
    """Share ``total`` sequences out over domains by the largest remainder (Hamilton's method).

    Args:
        weights: ``K`` non-negative weights that sum to one.
        total: Number of sequences to share out, at least 0.

    Returns:
        ``K`` int64 counts that sum to ``total``, each within one of ``weights * total``. A zero
        weight gets nothing. Equal remainders go to the earlier domain.

    Raises:
        ValueError: If the weights are not a mixture or ``total`` is negative.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or not np.all(np.isfinite(w)) or np.any(w < 0) or abs(w.sum() - 1) > 1e-9:
        raise ValueError(f"weights: {w!r} must be non-negative and sum to 1")
    if total < 0:
        raise ValueError(f"total: {total} must be at least 0")
    share = w * total
    counts = np.floor(share).astype(np.int64)
    order = np.argsort(counts - share, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts
