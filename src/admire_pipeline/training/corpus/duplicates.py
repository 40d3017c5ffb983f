"""Near-duplicates: MinHash signatures of documents and the groups that they form.

Source: A. Broder, "On the resemblance and containment of documents", 1997 (MinHash); J. Leskovec,
A. Rajaraman, J. Ullman, "Mining of Massive Datasets", ch. 3 (bands of a signature).

A document is known by 64 numbers of 4 bytes, kept on disk; grouping holds about 50 bytes a document
in memory, so 100 million documents need 5 GB.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

PERMUTATIONS = 64
"""Numbers in a signature."""

BANDS = 16
"""Documents that agree on a band, 4 consecutive numbers, are compared: 99 % of those of which 70 %
of the shingles are common."""

SIMILAR = 0.7
"""Near-duplicates agree on at least this share of the signature, which estimates the share of
shingles that they have in common (Jaccard) with a standard error of 0.06."""

SHINGLE = 8
"""Words in a shingle; a punctuation mark or a non-ASCII character is a word of its own."""

LONGEST = 1 << 20
"""Bytes at the beginning of a document that are looked at."""

_SPACE, _WORD, _MARK, _LEAD, _CONTINUATION = range(5)


def digest(text: bytes) -> int:
    """64-bit hash of a text that is the same for texts that differ in white space only."""
    normal = b" ".join(text.split())
    return int.from_bytes(hashlib.blake2b(normal, digest_size=8).digest(), "little")


def signature(text: bytes) -> np.ndarray:
    """MinHash signature of a UTF-8 text, `PERMUTATIONS`, uint32; letter case does not count."""
    hashes = _shingles(text[:LONGEST].lower())
    multiply, add = _permutations()
    result = np.full(PERMUTATIONS, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(hashes), 4096):
        block = hashes[start : start + 4096]
        values = (block * multiply[:, None] + add[:, None]) >> np.uint64(32)
        np.minimum(result, values.min(axis=1).astype(np.uint32), out=result)
    return result


def group(signatures: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Groups of near-duplicates: documents linked directly or through others.

    Args:
        signatures: `n x PERMUTATIONS`, uint32; may be memory-mapped.
        rows: Documents to group, `m`.

    Returns:
        Group of each of these documents, `m`, numbered from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = [np.zeros((2, 0), np.int64)]
    for band in range(BANDS):
        keys = _band_keys(signatures, rows, band)
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
        for begin in range(0, len(same), 65_536):
            at = same[begin : begin + 65_536]
            left, right = order[at], order[at + 1]
            agree = (signatures[rows[left]] == signatures[rows[right]]).mean(axis=1) >= SIMILAR
            links.append(np.stack([left[agree], right[agree]]))
    left, right = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(rows),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def resembling(signatures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Documents that are near-duplicates of others, directly or through one of their own.

    Args:
        signatures: `n x PERMUTATIONS`, uint32; may be memory-mapped.
        others: `m x PERMUTATIONS`, uint32.

    Returns:
        Their rows in `signatures`, ascending.
    """
    near = np.zeros(len(signatures), bool)
    for band in range(BANDS):
        theirs = _band_keys(others, np.arange(len(others)), band)
        for begin in range(0, len(signatures), 65_536):
            rows = np.arange(begin, min(begin + 65_536, len(signatures)))
            near[rows] |= np.isin(_band_keys(signatures, rows, band), theirs)
    candidates = np.flatnonzero(near)
    joint = np.concatenate([others, signatures[candidates]])
    groups = group(joint, np.arange(len(joint)))
    return candidates[np.isin(groups[len(others) :], groups[: len(others)])]


def _band_keys(signatures: np.ndarray, rows: np.ndarray, band: int) -> np.ndarray:
    """One hash per row of a band of its signature, uint64."""
    width = PERMUTATIONS // BANDS
    keys = np.zeros(len(rows), np.uint64)
    for column in signatures[rows, band * width : (band + 1) * width].T:
        keys = mix(keys ^ column.astype(np.uint64))
    return keys


def _shingles(text: bytes) -> np.ndarray:
    """Hashes of all runs of `SHINGLE` words, uint64; of the whole text if it has no more."""
    kind = _kinds()[np.frombuffer(text, np.uint8)]
    before = np.concatenate([[_SPACE], kind[:-1]])
    begins = (kind == _MARK) | (kind == _LEAD) | ((kind == _WORD) & (before != _WORD))
    solid = kind != _SPACE
    data = np.frombuffer(text, np.uint8)[solid].astype(np.uint64) + np.uint64(1)
    starts = np.flatnonzero(begins[solid])
    if not len(starts):
        return np.zeros(1, np.uint64)
    ends = np.append(starts, len(data))[SHINGLE:] if len(starts) > SHINGLE else [len(data)]
    starts = starts[: len(ends)]
    # A polynomial hash of every run at once: differences of prefix sums, shifted to power 0.
    powers, inverses = _powers()
    prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(data * powers[: len(data)])])
    return mix((prefix[ends] - prefix[starts]) * inverses[starts])


def mix(values: np.ndarray) -> np.ndarray:
    """Scrambles 64-bit numbers (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _kinds() -> np.ndarray:
    kinds = np.full(256, _MARK, np.uint8)
    kinds[list(b" \t\n\r\v\f")] = _SPACE
    kinds[list(b"_0123456789abcdefghijklmnopqrstuvwxyz")] = _WORD
    kinds[0x80:0xC0] = _CONTINUATION
    kinds[0xC0:] = _LEAD
    return kinds


@cache
def _powers() -> tuple[np.ndarray, np.ndarray]:
    base = 0x9E3779B97F4A7C15
    steps = (base, pow(base, -1, 1 << 64))
    powers, inverses = (np.cumprod(np.full(LONGEST, step, np.uint64)) for step in steps)
    return powers, inverses * np.uint64(base)


@cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(0).integers(0, 1 << 64, (2, PERMUTATIONS), np.uint64)
    return numbers[0] | np.uint64(1), numbers[1]
