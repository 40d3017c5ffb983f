from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admire_pipeline.mixture import pack


@given(
    capacity=st.integers(1, 50),
    shares=st.lists(st.floats(0, 1), max_size=200),
    seed=st.integers(0, 2**31),
)
def test_every_example_is_whole_and_in_one_sequence(capacity, shares, seed) -> None:
    lengths = np.array([max(1, round(share * capacity)) for share in shares], np.int64)
    packs = pack(lengths, capacity, seed)
    assert sorted(np.concatenate([lengths[:0], *packs]).tolist()) == list(range(len(lengths)))
    filled = [int(lengths[examples].sum()) for examples in packs]
    assert all(0 < size <= capacity for size in filled)
    # Any fit puts two half-empty sequences into one: all but one are more than half full.
    assert sum(2 * size <= capacity for size in filled) <= 1
    again = pack(lengths, capacity, seed)
    assert [p.tolist() for p in again] == [p.tolist() for p in packs]


def test_the_fullest_sequence_with_room_is_taken() -> None:
    packs = pack(np.array([6, 4, 3, 3, 2]), 10, seed=0)
    assert sorted(sorted(p.tolist()) for p in packs) == [[0, 1], [2, 3, 4]]
    # First fit would have put the 2 beside the 7.
    packs = pack(np.array([7, 8, 2]), 10, seed=0)
    assert sorted(sorted(p.tolist()) for p in packs) == [[0], [1, 2]]


def test_order_is_random_and_follows_the_seed() -> None:
    lengths = np.arange(1, 65)
    orders = [[p.tolist() for p in pack(lengths, 64, seed)] for seed in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    longest = [max(lengths[p]) for p in orders[0]]
    assert longest != sorted(longest, reverse=True)


@pytest.mark.parametrize("lengths", [[0], [3, 11]])
def test_examples_that_fit_no_sequence(lengths) -> None:
    with pytest.raises(ValueError, match=r"lengths: .* allowed: 1 to 10"):
        pack(np.array(lengths), 10, seed=0)
