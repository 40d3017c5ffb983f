"""What is on this machine of the models and data that a campaign needs, without the network."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from admire_pipeline.training.cached import find_folder, find_snapshot
from admire_pipeline.training.corpus import CorpusSettings, is_built
from admire_pipeline.training.corpus.files import find_files
from admire_pipeline.training.corpus.settings import DomainSettings
from admire_pipeline.training.corpus.tokenizer import BYTES, split_revision
from admire_pipeline.training.pretrained import INDEX, WEIGHTS
from admire_pipeline.training.settings import ModelSettings

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.*")
DATA_FILES = ("*",)


@dataclass(frozen=True)
class Need:
    """Something that must be there before a trial can run.

    Attributes:
        what: Name of the domain, the fidelity, or what it is for.
        source: Where it comes from.
        revision: Commit or tag; empty where there is none to pin, None where it is not pinned.
        place: Where it was found, or looked for.
        found: Whether it is there.
    """

    what: str
    source: str
    revision: str | None
    place: str
    found: bool


def need_model(name: str, settings: ModelSettings) -> Need | None:
    """The checkpoint of a fidelity; None where the model starts from its config."""
    if settings.checkpoint is None:
        return None
    need = look_up(name, settings.checkpoint, settings.revision, "model", ("*",), Path())
    folder = find_folder(settings.checkpoint, settings.revision)
    return replace(need, found=folder is not None and _has_weights(folder))


def _has_weights(folder: Path) -> bool:
    """Whether all weights are there: a download may have broken off."""
    index = folder / INDEX
    if not index.is_file():
        return (folder / WEIGHTS).is_file()
    parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((folder / part).is_file() for part in parts)


def need_tokenizer(settings: CorpusSettings, root: Path) -> Need | None:
    """The corpus' tokenizer; None for the one of bytes, which needs no files."""
    if settings.tokenizer == BYTES:
        return None
    place, revision = split_revision(settings.tokenizer)
    return look_up("tokenizer", place, revision, "model", TOKENIZER_FILES, root)


def need_domain(name: str, settings: CorpusSettings, folder: Path, root: Path) -> Need:
    """The source of a domain, or its shards where these are built.

    Args:
        name: Of the domain.
        settings: Of the corpus.
        folder: Of its shards.
        root: Relative sources are looked up here.
    """
    domain = settings.domains[name]
    source = _describe(domain)
    pinned = domain.revision if domain.huggingface is not None else ""
    if is_built(name, settings, folder, root):
        return Need(name, source, pinned, "prepared", True)
    if domain.embedded is not None:
        return Need(name, source, "", "installed packages", True)
    if domain.path is not None:
        return Need(name, source, "", *_files(domain.path, root))
    patterns = [domain.files] if isinstance(domain.files, str) else domain.files
    need = look_up(name, source, pinned, "dataset", tuple(patterns or DATA_FILES), root)
    if domain.max_bytes is not None and not need.found:
        return replace(need, place="the Hub, as far as max_bytes")
    return need


def look_up(  # noqa: PLR0913, PLR0917 - a name, and what to look for where
    what: str,
    source: str,
    revision: str | None,
    kind: Literal["model", "dataset"],
    patterns: tuple[str, ...],
    root: Path,
) -> Need:
    """A model or dataset in a folder of its own, or in the Hub's cache.

    Args:
        what: What it is for.
        source: Folder, or name on the Hub.
        revision: Commit or tag on the Hub.
        kind: Of the repository.
        patterns: A file that matches one of these must be there.
        root: Relative folders start here.
    """
    folder = root / source
    if folder.is_dir():
        return Need(what, source, "", source, bool(_matching(folder, patterns)))
    snapshot = find_snapshot(source, kind, revision)
    found = snapshot is not None and bool(_matching(snapshot, patterns))
    return Need(what, source, revision, "Hub cache", found)


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files of a folder that match, its card and the like left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in ("README.md", ".gitattributes")
        and any(fnmatch.fnmatch(path.relative_to(folder).as_posix(), p) for p in patterns)
    ]


def _files(patterns: str | list[str], root: Path) -> tuple[str, bool]:
    try:
        found = find_files(patterns, root)
    except FileNotFoundError as error:
        return f"no file matches {error.args[0]}", False
    size = sum(path.stat().st_size for path in found) / 1e6
    return f"{len(found)} file{'s' * (len(found) > 1)}, {size:,.0f} MB", True


def _describe(domain: DomainSettings) -> str:
    source = domain.embedded or domain.huggingface or domain.path or ""
    return ", ".join(source) if isinstance(source, list) else source
