"""The files of a built domain: written once, then memory-mapped."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from admire_pipeline.training.corpus.duplicates import PERMUTATIONS
from admire_pipeline.training.corpus.split import TRAIN, VALIDATION
from admire_pipeline.training.corpus.tokenise import Passages, Tokenised, join

TRAIN_TOKENS = "train.tokens"
"""Flat training tokens: end-of-text, document, end-of-text, document, and so on; chats stand one
after the other as their template begins and ends them."""

TRAIN_MASK = "train.loss_mask"
"""Of chats: which training tokens are learned from, uint8."""

VALIDATION_MASK = "validation.loss_mask"
"""Of chats: which tokens of the validation passages are measured, uint8."""

TRAIN_OFFSETS = "train.offsets.npy"
"""Where each training document begins, and the end of the last."""

VALIDATION_TOKENS = "validation.tokens"
"""Flat tokens of the validation passages."""

VALIDATION_INDEX = "validation.npz"
"""Offsets, bytes and document of the validation passages."""

SIGNATURES = {TRAIN: "train.signatures.npy", VALIDATION: "validation.signatures.npy"}
"""MinHash signatures of the documents of each side, in their order."""


@dataclass(frozen=True)
class ValidationShard:
    """Validation passages of a domain, in random order: the first ones are a fair sample.

    Attributes:
        tokens: Tokens of all passages, without end-of-text tokens; memory-mapped.
        loss_mask: Of chats: which tokens are measured, uint8, memory-mapped; None: all are.
        offsets: Where each passage begins in `tokens`, and the end of the last, `n + 1`, int64.
        bytes: UTF-8 bytes of each passage that are measured, `n`, int64.
        document: Document that each passage is from, `n`, int32; passages of one document are not
            independent of each other.
    """

    tokens: np.ndarray
    loss_mask: np.ndarray | None
    offsets: np.ndarray
    bytes: np.ndarray
    document: np.ndarray

    def __len__(self) -> int:
        return len(self.bytes)

    def first(self, size: int) -> int:
        """How many passages, at least one, hold at most `size` UTF-8 bytes: a fair sample."""
        return max(1, int(np.searchsorted(np.cumsum(self.bytes), size, side="right")))


def open_tokens(folder: Path, name: str, dtype: np.dtype[Any]) -> np.ndarray:
    """Tokens of a file, memory-mapped and read-only."""
    path = folder / name
    # An empty file cannot be mapped.
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


def open_mask(folder: Path, name: str) -> np.ndarray | None:
    """A loss mask, memory-mapped and read-only; None where all tokens count."""
    return open_tokens(folder, name, np.dtype(np.uint8)) if (folder / name).exists() else None


def open_validation(folder: Path, dtype: np.dtype[Any]) -> ValidationShard:
    """The validation passages of a built domain."""
    with np.load(folder / VALIDATION_INDEX) as index:
        return ValidationShard(
            open_tokens(folder, VALIDATION_TOKENS, dtype),
            open_mask(folder, VALIDATION_MASK),
            index["offsets"],
            index["bytes"],
            index["document"],
        )


def open_signatures(folder: Path, side: int) -> np.ndarray:
    """Signatures of a side's documents, `n x PERMUTATIONS`, uint32, memory-mapped."""
    return np.asarray(np.load(folder / SIGNATURES[side], mmap_mode="r"))


class ShardWriter:
    """Joins tokenised chunks, which come in order, into the shards of a domain.

    Args:
        folder: Where the files go.
        dtype: Type of the tokens.
        seed: Orders the validation passages.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any], seed: int) -> None:
        self._folder = folder
        self._dtype = dtype
        self._seed = seed
        self._lengths: list[np.ndarray] = [np.zeros(1, np.int64)]
        self._passages: list[Passages] = []
        self._documents = 0
        self._counts: dict[str, int] = {}
        self._hashes: dict[str, str] = {}

    def __enter__(self) -> ShardWriter:
        self._file = (self._folder / TRAIN_TOKENS).open("wb")
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self._file.close()
        if error is None:
            offsets = np.cumsum(np.concatenate(self._lengths))
            np.save(self._folder / TRAIN_OFFSETS, offsets)
            self._counts["tokens"] = int(offsets[-1])
            self._write_validation()
            for name in (TRAIN_TOKENS, VALIDATION_TOKENS, TRAIN_MASK, VALIDATION_MASK):
                if (self._folder / name).exists():
                    with (self._folder / name).open("rb") as file:
                        self._hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()

    def add(self, chunk: Tokenised) -> None:
        """Appends a chunk and deletes its file of tokens."""
        path = chunk.chunk.path.with_suffix(".train")
        with path.open("rb") as source:
            shutil.copyfileobj(source, self._file)
        path.unlink()
        mask = path.with_suffix(".mask")
        if mask.exists():
            with mask.open("rb") as source, (self._folder / TRAIN_MASK).open("ab") as file:
                shutil.copyfileobj(source, file)
            mask.unlink()
        self._lengths.append(chunk.train_lengths)
        part = chunk.passages
        document = part.document + np.int32(self._documents)
        self._passages.append(replace(part, document=document))
        self._documents += len(np.unique(document))

    def describe(self, records: np.ndarray, side: np.ndarray) -> dict[str, Any]:
        """Write the documents' signatures; returns what was written, for the manifest.

        Args:
            records: Of all documents, `n`, of type `RECORD`.
            side: Side of each, `n`.
        """
        size = records["bytes"]
        for part, name in SIGNATURES.items():
            self._write_signatures(self._folder / name, records, np.flatnonzero(side == part))
        return {
            "documents": int((side == TRAIN).sum()),
            "bytes": int(size[side == TRAIN].sum()),
            "tokens": self._counts["tokens"],
            "validation": {
                "documents": self._documents,
                "passages": self._counts["passages"],
                "bytes": int(size[side == VALIDATION].sum()),
                "tokens": self._counts["validation_tokens"],
            },
            "tokens_hash": self._hashes,
        }

    def _write_signatures(self, path: Path, records: np.ndarray, rows: np.ndarray) -> None:
        kept = np.lib.format.open_memmap(path, "w+", np.uint32, (len(rows), PERMUTATIONS))
        for begin in range(0, len(rows), 65_536):  # 16 MB at once
            part = slice(begin, begin + 65_536)
            kept[part] = records["signature"][rows[part]]
        kept.flush()

    def _write_validation(self) -> None:
        lengths = join([part.lengths for part in self._passages], np.int64)
        tokens = join([part.tokens for part in self._passages], self._dtype)
        masks = [part.loss_mask for part in self._passages if part.loss_mask is not None]
        order = np.random.default_rng(self._seed).permutation(len(lengths))
        stops = np.cumsum(lengths)
        flat = {VALIDATION_TOKENS: tokens}
        if masks:
            flat[VALIDATION_MASK] = join(masks, np.uint8)
        for name, values in flat.items():
            with (self._folder / name).open("wb") as file:
                for passage in order:
                    values[stops[passage] - lengths[passage] : stops[passage]].tofile(file)
        np.savez(
            self._folder / VALIDATION_INDEX,
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[order])]),
            bytes=join([part.bytes for part in self._passages], np.int64)[order],
            document=join([part.document for part in self._passages], np.int32)[order],
        )
        self._counts["passages"] = len(lengths)
        self._counts["validation_tokens"] = len(tokens)
