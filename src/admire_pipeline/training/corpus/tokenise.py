"""Second pass: documents of a chunk become tokens for training and passages for validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from admire_pipeline.training.corpus.split import TRAIN, VALIDATION
from admire_pipeline.training.corpus.survey import Chunk
from admire_pipeline.training.corpus.tokenizer import Tokenizer, load_tokenizer

_BLOCK_BYTES = 4_000_000  # text given to the tokenizer at once


@dataclass(frozen=True)
class TokeniseJob:
    """One chunk to be tokenised.

    Attributes:
        chunk: The copied documents.
        lengths: UTF-8 bytes of each, `n`, int64.
        side: Side of each, `n`, int8 (see `split`).
        tokenizer: Name of the tokenizer.
        passage_bytes: Length of validation passages, at most.
    """

    chunk: Chunk
    lengths: np.ndarray
    side: np.ndarray
    tokenizer: str
    passage_bytes: int


@dataclass(frozen=True)
class Passages:
    """Validation passages in the order of their text.

    Attributes:
        tokens: All tokens, one passage after the other.
        lengths: Tokens per passage, `n`, int64.
        bytes: UTF-8 bytes per passage, `n`, int64.
        document: Document of each passage within its chunk, `n`, int32.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    bytes: np.ndarray
    document: np.ndarray


@dataclass(frozen=True)
class Tokenised:
    """A tokenised chunk; its training tokens lie in the chunk's `.train` file.

    Attributes:
        chunk: The chunk.
        train_lengths: Tokens per training document, the end-of-text token before it included.
        passages: Validation passages.
    """

    chunk: Chunk
    train_lengths: np.ndarray
    passages: Passages


def tokenise(job: TokeniseJob) -> Tokenised:
    """Tokenises the documents of a chunk that are not dropped."""
    tokenizer = load_tokenizer(job.tokenizer)
    text = job.chunk.path.with_suffix(".text").read_bytes()
    stops = np.cumsum(job.lengths)
    starts = stops - job.lengths

    def documents(side: int) -> Iterator[bytes]:
        return (text[starts[index] : stops[index]] for index in np.flatnonzero(job.side == side))

    eos = tokenizer.vocabulary.eos_token_id
    lengths = []
    with job.chunk.path.with_suffix(".train").open("wb") as file:
        for block in _blocks(documents(TRAIN)):
            tokens, counts = tokenizer.encode(block)
            np.insert(tokens, np.cumsum(counts) - counts, eos).tofile(file)
            lengths.append(counts + 1)
    return Tokenised(
        job.chunk,
        np.concatenate([np.zeros(0, np.int64), *lengths]),
        _passages(list(documents(VALIDATION)), tokenizer, job.passage_bytes),
    )


def _passages(documents: list[bytes], tokenizer: Tokenizer, limit: int) -> Passages:
    pieces = [cut_passages(document, limit) for document in documents]
    passages = [passage for document in pieces for passage in document]
    encoded = [tokenizer.encode(block) for block in _blocks(iter(passages))]
    empty = np.zeros(0, np.int64)
    return Passages(
        tokens=np.concatenate([empty.astype(tokenizer.vocabulary.dtype), *(t for t, _ in encoded)]),
        lengths=np.concatenate([empty, *(counts for _, counts in encoded)]),
        bytes=np.array([len(passage) for passage in passages], np.int64),
        document=np.repeat(np.arange(len(pieces), dtype=np.int32), [len(p) for p in pieces]),
    )


def cut_passages(text: bytes, limit: int) -> list[bytes]:
    """Consecutive pieces of a UTF-8 text, each of at most `limit` bytes and of whole characters.

    Args:
        text: Valid UTF-8.
        limit: At least 4, the bytes of the longest character.
    """
    passages = []
    start = 0
    while start < len(text):
        stop = start + limit
        # Bytes 10xxxxxx continue a character.
        while stop < len(text) and text[stop] & 0xC0 == 0x80:
            stop -= 1
        passages.append(text[start:stop])
        start = stop
    return passages


def _blocks(texts: Iterator[bytes]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
