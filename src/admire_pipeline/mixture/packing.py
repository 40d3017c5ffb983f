"""Packing: examples of different lengths share training sequences of one length."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np


def pack(lengths: np.ndarray, capacity: int, seed: int) -> list[np.ndarray]:
    """Put examples into as few sequences as best-fit decreasing finds; none is cut.

    Each example goes, the longest first, into the fullest sequence that still has room for it
    (Ding et al., "Fewer Truncations Improve Language Modeling", ICML 2024, section 3). Sequences
    are then shuffled, as that order is by length.

    Args:
        lengths: ``n`` tokens of each example, from 1 to `capacity`.
        capacity: Tokens of a sequence.
        seed: Of the order of the sequences.

    Returns:
        The examples of each sequence, as indices; every example is in exactly one.

    Raises:
        ValueError: If an example is empty or longer than a sequence.
    """
    lengths = np.asarray(lengths, np.int64)
    if len(lengths) and not (1 <= lengths.min() and lengths.max() <= capacity):
        raise ValueError(
            f"lengths: {lengths.min()} to {lengths.max()} tokens; allowed: 1 to {capacity}"
        )
    packs: list[list[int]] = []
    # Sequences by the room they have left, and the amounts of room that there are, ascending.
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        place = bisect_left(rooms, length)
        if place == len(rooms):
            packs.append([index])
            number, left = len(packs) - 1, capacity - length
        else:
            room = rooms[place]
            number = by_room[room].pop()
            if not by_room[room]:
                del by_room[room], rooms[place]
            packs[number].append(index)
            left = room - length
        if left:
            if left not in by_room:
                insort(rooms, left)
            by_room.setdefault(left, []).append(number)
    order = np.random.default_rng(seed).permutation(len(packs))
    return [np.array(packs[number], np.int64) for number in order]
