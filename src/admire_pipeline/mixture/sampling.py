"""Which sequences or examples of each domain a trial trains on, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draw:
    """The training sequences (or examples, alike) of a trial, in training order.

    Attributes:
        domain: ``n`` int16 domain indices.
        sequence: ``n`` int64 sequence indices within the domain.
        epochs: ``K`` passes over each domain, e.g. 1.5 where half of it is seen twice.
    """

    domain: np.ndarray
    sequence: np.ndarray
    epochs: np.ndarray


def draw_sequences(counts: np.ndarray, available: np.ndarray, seed: int) -> Draw:
    """Draw sequences of all domains in random turns, none of a domain twice before all of it once.

    Each domain has its own random stream, so what one domain contributes does not depend on the
    counts of the others; with a larger count it contributes the same sequences and then more.

    Args:
        counts: ``K`` sequences wanted from each domain.
        available: ``K`` sequences that each domain has.
        seed: Seed of the trial; the same seed and counts give the same draw.

    Returns:
        The draw of ``n = sum(counts)`` sequences.

    Raises:
        ValueError: If shapes differ, a number is negative, or an empty domain is asked for.
    """
    wanted = np.asarray(counts, dtype=np.int64)
    size = np.asarray(available, dtype=np.int64)
    if wanted.ndim != 1 or wanted.shape != size.shape:
        raise ValueError(f"counts: shape {wanted.shape} must equal that of available, {size.shape}")
    if np.any(wanted < 0) or np.any(size < 0):
        raise ValueError(f"counts: {wanted} and available: {size} must be at least 0")
    if empty := np.flatnonzero((wanted > 0) & (size == 0)).tolist():
        raise ValueError(f"available[{empty[0]}]: 0, but counts[{empty[0]}] is {wanted[empty[0]]}")
    *streams, shuffle = np.random.SeedSequence(seed).spawn(len(wanted) + 1)
    parts = [
        _epochs(int(want), int(have), np.random.Generator(np.random.PCG64(stream)))
        for want, have, stream in zip(wanted, size, streams, strict=True)
    ]
    turns = np.repeat(np.arange(len(wanted), dtype=np.int16), wanted)
    domain = np.random.Generator(np.random.PCG64(shuffle)).permutation(turns)
    sequence = np.empty(len(domain), dtype=np.int64)
    # Only the turns are shuffled: a domain's epochs must not mix.
    sequence[np.argsort(domain, kind="stable")] = np.concatenate([sequence[:0], *parts])
    return Draw(domain, sequence, wanted / np.maximum(size, 1))


def _epochs(want: int, have: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``want`` indices below ``have``: whole permutations, the last one cut short."""
    passes = -(-want // have) if want else 0
    shuffled = [rng.permutation(have) for _ in range(passes)]
    return np.concatenate([np.empty(0, dtype=np.int64), *shuffled])[:want].astype(np.int64)
