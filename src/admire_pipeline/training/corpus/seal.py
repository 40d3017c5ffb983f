"""Checksums of a built domain's files: shards that have changed since are refused."""

from __future__ import annotations

from pathlib import Path

from admire_pipeline.integrity import (
    DamagedError,
    check_files,
    checksums,
    read_sealed,
    write_sealed,
)
from admire_pipeline.training.corpus.errors import CorpusError

SEAL = "seal.json"
"""In a domain's folder: the checksum of every other file there."""

State = tuple[tuple[str, int, int, int], ...]
"""Of the files in a folder: name, size, times of the last change of content and of anything."""

_known: dict[Path, State] = {}
"""State of the folders that this process has compared with their seals."""


def seal(folder: Path) -> None:
    """Keep the checksums of all files in a folder."""
    write_sealed(folder / SEAL, checksums(folder, sorted(path.name for path in folder.iterdir())))


def check_seal(domain: str, folder: Path) -> None:
    """Check that a domain's files hold what was written to them.

    They are read only where this process has not seen them in their present state: the first time,
    and when somebody has touched them.

    Raises:
        CorpusError: If they do not.
    """
    state = _state(folder)
    if _known.get(folder) == state:
        return
    try:
        check_files(folder, read_sealed(folder / SEAL))
    except (DamagedError, FileNotFoundError) as damage:
        raise CorpusError(
            f"corpus.domains.{domain}: {damage}; allowed: shards as they were built (once {folder} "
            "is deleted, the next step builds them again)"
        ) from damage
    _known[folder] = state


def _state(folder: Path) -> State:
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    # The second time cannot be set back.
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)
