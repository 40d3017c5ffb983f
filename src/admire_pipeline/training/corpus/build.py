"""Building one domain: survey, split, tokenise, and write its shards as one folder."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from admire_pipeline.disk import sync, sync_file
from admire_pipeline.training.corpus.errors import CorpusError
from admire_pipeline.training.corpus.hub import resolve_commit
from admire_pipeline.training.corpus.parallel import Workers
from admire_pipeline.training.corpus.seal import seal
from admire_pipeline.training.corpus.settings import CorpusSettings, DomainSettings
from admire_pipeline.training.corpus.shards import ShardWriter
from admire_pipeline.training.corpus.sources import find_parts
from admire_pipeline.training.corpus.split import RECORD, Split, split_documents
from admire_pipeline.training.corpus.survey import (
    Chunk,
    SurveyJob,
    copy_documents,
    describe_documents,
)
from admire_pipeline.training.corpus.tokenise import TokeniseJob, tokenise
from admire_pipeline.training.corpus.tokenizer import load_tokenizer

STAGING = ".building-"
"""Folders of domains being built begin so."""

logger = logging.getLogger(__name__)


def build_domain(  # noqa: PLR0913 - what and where, and the processes to do it with
    name: str,
    settings: CorpusSettings,
    recipe: dict[str, Any],
    target: Path,
    root: Path,
    workers: Workers,
) -> None:
    """Builds a domain aside and renames it to `target` when it is whole.

    Args:
        name: Name of the domain.
        settings: Of the corpus.
        recipe: What the domain is made from; kept in its manifest.
        target: Folder to make.
        root: Relative sources are looked up here.
        workers: Who does it.

    Raises:
        CorpusError: If the source is missing, empty or unreadable.
    """
    began = time.monotonic()
    staging = target.with_name(f"{STAGING}{target.name}")
    staging.mkdir()
    try:
        copies = staging / "copies"
        copies.mkdir()
        domain = settings.domains[name]
        commit = resolve_commit(name, domain, root)
        if commit is not None:
            domain = domain.model_copy(update={"revision": commit})
        chunks = _survey(name, domain, settings.tokenizer, root, copies, workers)
        records = _gather(chunks, copies / "records")
        if not len(records):
            rows = f" where {settings.domains[name].where}" if settings.domains[name].where else ""
            raise CorpusError(
                f"corpus.domains.{name}: has no text{rows}; allowed: at least one document that is "
                "not blank, or a chat with an answer"
            )
        split = split_documents(name, settings.domains[name], settings, records)
        vocabulary = load_tokenizer(settings.tokenizer).vocabulary
        with ShardWriter(staging, vocabulary.dtype, settings.seed) as shards:
            jobs = _jobs(chunks, records, split, settings)
            size = sum(chunk.bytes for chunk in chunks)
            for result in workers.run(tokenise, jobs, size, f"{name}: tokenising"):
                shards.add(result)
                result.chunk.path.with_suffix(".text").unlink()
                result.chunk.path.with_suffix(".spans").unlink(missing_ok=True)
        manifest = {
            "domain": name,
            **shards.describe(records, split.side),
            "duplicates_dropped": split.duplicates,
            "near_duplicates": split.near_duplicates,
            "left_out": split.left_out,
            "content_hash": hashlib.sha256(
                np.ascontiguousarray(records["content"]).tobytes()
            ).hexdigest(),
            "tokenizer": {"name": recipe["corpus"]["tokenizer"], **asdict(vocabulary)},
            "recipe": recipe,
            "revision": commit,
            "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - began, 2),
        }
        del records
        shutil.rmtree(copies)
        (staging / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        seal(staging)
        sync(staging)
        staging.rename(target)
        sync_file(target.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    logger.info(
        "Corpus domain %s: %d documents, %.1f MB to train on, %.2f MB for validation (%.1f s)",
        name,
        manifest["documents"] + manifest["validation"]["documents"],
        manifest["bytes"] / 1e6,
        manifest["validation"]["bytes"] / 1e6,
        manifest["seconds"],
    )


def _survey(  # noqa: PLR0913 - what, where to, and the processes to do it with
    name: str, domain: DomainSettings, tokenizer: str, root: Path, copies: Path, workers: Workers
) -> list[Chunk]:
    parts = find_parts(name, domain, root)
    together = [[part] for part in parts]
    if domain.max_bytes is not None:
        # What is read ends where the parts before it have filled the limit: one process reads all.
        sides = ([part for part in parts if part.held_out is side] for side in (False, True))
        together = [side for side in sides if side]
    jobs = [
        SurveyJob(name, domain, tokenizer, group, copies / f"{number:06d}")
        for number, group in enumerate(together)
    ]
    size = sum(part.size for part in parts)
    logger.info("Preparing corpus domain %s", name)
    read = workers.run(copy_documents, jobs, size, f"{name}: reading")
    copied = [chunk for chunks in read for chunk in chunks if chunk.documents]
    size = sum(chunk.bytes for chunk in copied)
    return list(workers.run(describe_documents, copied, size, f"{name}: looking for duplicates"))


def _gather(chunks: Sequence[Chunk], path: Path) -> np.ndarray:
    """The records of all chunks, memory-mapped."""
    with path.open("wb") as file:
        for chunk in chunks:
            part = chunk.path.with_suffix(".records")
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
            part.unlink()
    return np.memmap(path, RECORD, "r") if chunks else np.zeros(0, RECORD)


def _jobs(
    chunks: Sequence[Chunk], records: np.ndarray, split: Split, settings: CorpusSettings
) -> list[TokeniseJob]:
    stops = np.cumsum([chunk.documents for chunk in chunks])
    return [
        TokeniseJob(
            chunk,
            np.array(records["bytes"][stop - chunk.documents : stop]),
            split.side[stop - chunk.documents : stop],
            settings.tokenizer,
            settings.passage_bytes,
        )
        for chunk, stop in zip(chunks, stops, strict=True)
    ]
