from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admire_pipeline.mixture import draw_sequences

sizes = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 25)), min_size=1, max_size=6)


@given(sizes=sizes, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_no_repetition_inside_an_epoch(sizes: list[tuple[int, int]], seed: int) -> None:
    counts, available = np.array(sizes).T
    draw = draw_sequences(counts, available, seed)
    assert draw.domain.dtype == np.int16
    assert draw.sequence.dtype == np.int64
    np.testing.assert_allclose(draw.epochs, counts / available)
    for domain, (want, have) in enumerate(sizes):
        drawn = draw.sequence[draw.domain == domain]
        assert len(drawn) == want
        # In training order: every epoch holds each sequence at most once, all but the last exactly.
        for begin in range(0, want, have):
            epoch = drawn[begin : begin + have]
            assert len(set(epoch.tolist())) == len(epoch)
            assert set(epoch.tolist()) <= set(range(have))


def test_the_seed_decides_everything() -> None:
    counts, available = np.array([5, 7]), np.array([10, 3])
    one, same = draw_sequences(counts, available, 1), draw_sequences(counts, available, 1)
    other = draw_sequences(counts, available, 2)
    np.testing.assert_array_equal(one.sequence, same.sequence)
    np.testing.assert_array_equal(one.domain, same.domain)
    assert one.sequence.tolist() != other.sequence.tolist()


def test_domains_are_independent_and_nested() -> None:
    available = np.array([50, 50, 50])
    few = draw_sequences(np.array([10, 5, 0]), available, 7)
    more = draw_sequences(np.array([10, 40, 30]), available, 7)
    for domain in (0, 1):
        fewer = few.sequence[few.domain == domain]
        drawn = more.sequence[more.domain == domain]
        np.testing.assert_array_equal(fewer, drawn[: len(fewer)])


def test_domains_are_mixed_in_time() -> None:
    draw = draw_sequences(np.array([500, 500]), np.array([500, 500]), 0)
    # A fair shuffle puts 250 of domain 0 in the first half, with standard deviation 8.
    assert abs((draw.domain[:500] == 0).sum() - 250) < 40


@pytest.mark.parametrize(
    ("counts", "available", "message"),
    [
        ([1, 2], [3, 0], r"available\[1\]: 0"),
        ([1, -2], [3, 3], "at least 0"),
        ([1], [3, 3], "shape"),
    ],
)
def test_bad_input(counts: list[int], available: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_sequences(np.array(counts), np.array(available), 0)


def test_an_empty_domain_that_is_not_wanted_is_fine() -> None:
    draw = draw_sequences(np.array([2, 0]), np.array([3, 0]), 0)
    assert draw.domain.tolist() == [0, 0]
    assert draw.epochs[1] == 0
