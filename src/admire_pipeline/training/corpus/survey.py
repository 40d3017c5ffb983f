"""First pass over a source: documents are copied to plain files and described for the split.

The copies make the second pass independent of the source's format and of changes to it meanwhile;
they take as much disk as the text, until the domain is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    """Some documents, copied: `.text` holds them one after the other, `.records` describes them."""

    path: Path
    documents: int
    bytes: int


def survey(job: SurveyJob) -> list[Chunk]:
    """Copies the documents of a part and describes them.

    Raises:
        CorpusError: If the part cannot be read.
    """
    texts = _texts(job)
    chunks: list[Chunk] = []
    done = False
    while not done:
        path = job.target.with_name(f"{job.target.name}-{len(chunks):06d}")
        records = []
        size = 0
        done = True
        with path.with_suffix(".text").open("wb") as file:
            for text in texts:
                file.write(text)
                size += len(text)
                records.append(_describe(text, job.part.held_out))
                if size >= job.chunk_bytes:
                    done = False
                    break
        np.array(records, RECORD).tofile(path.with_suffix(".records"))
        chunks.append(Chunk(path, len(records), size))
    return chunks


def _texts(job: SurveyJob) -> Iterator[bytes]:
    # JSON may hold half of a surrogate pair, which no encoding takes.
    documents = read_documents(job.name, job.domain, job.part, load_tokenizer(job.tokenizer))
    return (document.encode("utf-8", "replace") for document in documents)


def _describe(text: bytes, held_out: bool) -> tuple[int, int, np.ndarray, bool, np.ndarray]:
    content = np.frombuffer(hashlib.sha256(text).digest()[:16], np.uint8)
    return len(text), digest(text), content, held_out, signature(text)
