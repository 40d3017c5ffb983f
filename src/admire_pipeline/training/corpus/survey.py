"""First pass over a source: documents are copied to plain files, then described for the split.

The copies make all that follows independent of the source's format and of changes to it meanwhile,
and parallel even where the source is one compressed file; they take as much disk as the text, until
the domain is built.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from admire_pipeline.training.corpus.chat import Chat
from admire_pipeline.training.corpus.duplicates import digest, signature
from admire_pipeline.training.corpus.settings import DomainSettings
from admire_pipeline.training.corpus.sources import Part, read_documents
from admire_pipeline.training.corpus.split import RECORD
from admire_pipeline.training.corpus.tokenizer import load_tokenizer

CHUNK_BYTES = 16_000_000
"""A new file of copies is begun after this much text; one chunk is in memory at a time."""


@dataclass(frozen=True)
class SurveyJob:
    """One part of a source to be read.

    Attributes:
        name: Name of the domain.
        domain: Its settings.
        tokenizer: Name of the tokenizer, which renders chats.
        part: What to read.
        target: Path of the chunks, without their number and suffix.
        chunk_bytes: Text of a chunk.
    """

    name: str
    domain: DomainSettings
    tokenizer: str
    part: Part
    target: Path
    chunk_bytes: int = CHUNK_BYTES


@dataclass(frozen=True)
class Chunk:
    """Some documents, copied.

    Attributes:
        path: `.text` holds them one after the other, `.lengths` their bytes (int64), `.records`
            describes them; of chats, `.spans` says what is learned: the number of the document,
            first and last + 1 byte in it (`n x 3`, int64).
        documents: Their number.
        bytes: Of all of them.
        held_out: Whether they are validation documents by their source.
    """

    path: Path
    documents: int
    bytes: int
    held_out: bool


def copy_documents(job: SurveyJob) -> list[Chunk]:
    """Copies the documents of a part.

    Raises:
        CorpusError: If the part cannot be read.
    """
    documents = read_documents(job.name, job.domain, job.part, load_tokenizer(job.tokenizer))
    chunks: list[Chunk] = []
    done = False
    while not done:
        path = job.target.with_name(f"{job.target.name}-{len(chunks):06d}")
        lengths: list[int] = []
        spans: list[np.ndarray] = []
        size = 0
        done = True
        with path.with_suffix(".text").open("wb") as file:
            for document in documents:
                if isinstance(document, Chat):
                    spans.append(np.insert(document.byte_spans(), 0, len(lengths), axis=1))
                text = _encode(document)
                file.write(text)
                size += len(text)
                lengths.append(len(text))
                if size >= job.chunk_bytes:
                    done = False
                    break
        np.array(lengths, np.int64).tofile(path.with_suffix(".lengths"))
        if spans:
            np.concatenate(spans).tofile(path.with_suffix(".spans"))
        chunks.append(Chunk(path, len(lengths), size, job.part.held_out))
    return chunks


def describe_documents(chunk: Chunk) -> Chunk:
    """Writes a record per document of a chunk."""
    stops = np.cumsum(np.fromfile(chunk.path.with_suffix(".lengths"), np.int64))
    text = chunk.path.with_suffix(".text").read_bytes()
    records = [
        _describe(text[start:stop], chunk.held_out)
        for start, stop in zip(np.append(0, stops), stops, strict=False)
    ]
    np.array(records, RECORD).tofile(chunk.path.with_suffix(".records"))
    chunk.path.with_suffix(".lengths").unlink()
    return chunk


def _encode(document: str | Chat) -> bytes:
    # JSON may hold half of a surrogate pair, which no encoding takes.
    text = document.text if isinstance(document, Chat) else document
    return text.encode("utf-8", "replace")


def _describe(text: bytes, held_out: bool) -> tuple[int, int, np.ndarray, bool, np.ndarray]:
    content = np.frombuffer(hashlib.sha256(text).digest()[:16], np.uint8)
    return len(text), digest(text), content, held_out, signature(text)
