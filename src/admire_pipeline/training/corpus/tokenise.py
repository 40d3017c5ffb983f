"""Second pass: documents of a chunk become tokens for training and passages for validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

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
        loss_mask: Which of them are measured, uint8; None: all.
        lengths: Tokens per passage, `n`, int64.
        bytes: UTF-8 bytes per passage that are measured, `n`, int64.
        document: Document of each passage within its chunk, `n`, int32.
    """

    tokens: np.ndarray
    loss_mask: np.ndarray | None
    lengths: np.ndarray
    bytes: np.ndarray
    document: np.ndarray


@dataclass(frozen=True)
class Tokenised:
    """A tokenised chunk; its training tokens lie in the chunk's `.train` file.

    Attributes:
        chunk: The chunk. Of chats, its `.mask` file says which training tokens are learned (uint8).
        train_lengths: Tokens per training document; of text, the end-of-text token before it
            included.
        passages: Validation passages.
    """

    chunk: Chunk
    train_lengths: np.ndarray
    passages: Passages


def tokenise(job: TokeniseJob) -> Tokenised:
    """Tokenises the documents of a chunk that are not dropped."""
    if job.chunk.path.with_suffix(".spans").exists():
        return _tokenise_chats(job)
    tokenizer = load_tokenizer(job.tokenizer)
    eos = tokenizer.vocabulary.eos_token_id
    lengths = []
    with job.chunk.path.with_suffix(".train").open("wb") as file:
        for block in _blocks(_documents(job, TRAIN)):
            tokens, counts = tokenizer.encode(block)
            np.insert(tokens, np.cumsum(counts) - counts, eos).tofile(file)
            lengths.append(counts + 1)
    return Tokenised(
        job.chunk,
        join(lengths, np.int64),
        _passages(list(_documents(job, VALIDATION)), tokenizer, job.passage_bytes),
    )


def _documents(job: TokeniseJob, side: int) -> Iterator[bytes]:
    text = job.chunk.path.with_suffix(".text").read_bytes()
    stops = np.cumsum(job.lengths)
    starts = stops - job.lengths
    return (text[starts[index] : stops[index]] for index in np.flatnonzero(job.side == side))


def _passages(documents: list[bytes], tokenizer: Tokenizer, limit: int) -> Passages:
    pieces = [cut_passages(document, limit) for document in documents]
    passages = [passage for document in pieces for passage in document]
    encoded = [tokenizer.encode(block) for block in _blocks(iter(passages))]
    return Passages(
        tokens=join([tokens for tokens, _ in encoded], tokenizer.vocabulary.dtype),
        loss_mask=None,
        lengths=join([counts for _, counts in encoded], np.int64),
        bytes=np.array([len(passage) for passage in passages], np.int64),
        document=np.repeat(np.arange(len(pieces), dtype=np.int32), [len(p) for p in pieces]),
    )


def _tokenise_chats(job: TokeniseJob) -> Tokenised:
    """Chats begin and end as their template says, and are not cut: a passage is a whole chat."""
    tokenizer = load_tokenizer(job.tokenizer)
    dtype = tokenizer.vocabulary.dtype
    spans = np.fromfile(job.chunk.path.with_suffix(".spans"), np.int64).reshape(-1, 3)

    def encode(side: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        rest = iter(_split_spans(spans, np.flatnonzero(job.side == side)))
        for block in _blocks(_documents(job, side)):
            yield tokenizer.encode_chats(block, list(islice(rest, len(block))))

    lengths = []
    path = job.chunk.path
    with path.with_suffix(".train").open("wb") as file, path.with_suffix(".mask").open("wb") as m:
        for tokens, counts, mask in encode(TRAIN):
            tokens.tofile(file)
            mask.tofile(m)
            lengths.append(counts)
    held_out = list(encode(VALIDATION))
    chosen = np.flatnonzero(job.side == VALIDATION)
    learned = [int((s[:, 1] - s[:, 0]).sum()) for s in _split_spans(spans, chosen)]
    passages = Passages(
        tokens=join([tokens for tokens, _, _ in held_out], dtype),
        loss_mask=join([mask for _, _, mask in held_out], np.uint8),
        lengths=join([counts for _, counts, _ in held_out], np.int64),
        bytes=np.array(learned, np.int64),
        document=np.arange(len(chosen), dtype=np.int32),
    )
    return Tokenised(job.chunk, join(lengths, np.int64), passages)


def _split_spans(spans: np.ndarray, documents: np.ndarray) -> list[np.ndarray]:
    """The spans of each of these documents, `n x 2`."""
    begins = np.searchsorted(spans[:, 0], documents)
    ends = np.searchsorted(spans[:, 0], documents, side="right")
    return [spans[begin:end, 1:] for begin, end in zip(begins, ends, strict=True)]


def join(arrays: list[np.ndarray], dtype: Any) -> np.ndarray:
    """All arrays one after the other; an empty one of that type where there are none."""
    return np.concatenate([np.zeros(0, dtype), *arrays])


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
