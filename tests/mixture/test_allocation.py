from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admire_pipeline.mixture import allocate

raw = st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 1.0)), min_size=1, max_size=50)


@given(raw=raw.filter(lambda values: sum(values) > 0), total=st.integers(0, 10**9))
@settings(max_examples=300, deadline=None)
def test_counts_are_exact_and_within_one(raw: list[float], total: int) -> None:
    weights = np.array(raw) / np.sum(raw)
    counts = allocate(weights, total)
    assert counts.dtype == np.int64
    assert counts.sum() == total
    # Round-off of weights * total is about 1e-16 * total.
    assert np.all(np.abs(counts - weights * total) < 1 + 1e-15 * total)
    assert np.all(counts[weights == 0] == 0)


def test_largest_remainder_and_ties() -> None:
    assert allocate(np.array([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]
    assert allocate(np.array([0.25, 0.25, 0.25, 0.25]), 6).tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("weights", "total", "message"),
    [
        ([0.5, 0.4], 3, "sum to 1"),
        ([1.5, -0.5], 3, "non-negative"),
        ([np.nan, 1.0], 3, "weights"),
        ([[0.5, 0.5]], 3, "weights"),
        ([0.5, 0.5], -1, "total: -1"),
    ],
)
def test_bad_input(weights: list[float], total: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allocate(np.array(weights), total)
