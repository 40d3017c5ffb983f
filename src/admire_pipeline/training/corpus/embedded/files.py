"""Finding and cutting the text files of installed distributions, without importing them."""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path

PYTHON = "python"
"""Stands for the standard library where a distribution is asked for."""

PIECE = 16_384
"""Documents are about this long, in characters: one file must not be a whole validation set."""


def root(distribution: str) -> Path | None:
    """The folder that holds a distribution's packages; None if it is not installed."""
    if distribution == PYTHON:
        return Path(sysconfig.get_path("stdlib"))
    try:
        return Path(str(metadata.distribution(distribution).locate_file("")))
    except metadata.PackageNotFoundError:
        return None


def versions(distributions: tuple[str, ...]) -> dict[str, str | None]:
    """Version per distribution and of Python; None for what is not installed."""
    found: dict[str, str | None] = {PYTHON: platform.python_version()}
    for name in distributions:
        if name != PYTHON:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = None
    return found


def read_text(path: Path, limit: int | None = None) -> str | None:
    """The file's text, at most `limit` characters; None if it is missing or not UTF-8."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(limit)
    except (OSError, UnicodeDecodeError):
        return None


def cut(text: str, length: int = PIECE) -> Iterator[str]:
    """Pieces of `length` characters or less, cut after the last line break or space of each."""
    start = 0
    while len(text) - start > length:
        stop = start + length
        # A break in the first half would make many small pieces of text without lines.
        middle = start + length // 2
        at = text.rfind("\n", middle, stop)
        if at < 0:
            at = text.rfind(" ", middle, stop)
        stop = at + 1 if at > 0 else stop
        yield text[start:stop]
        start = stop
    if text[start:].strip():
        yield text[start:]


@dataclass(frozen=True)
class Files:
    """Text files of one distribution.

    Attributes:
        distribution: Its name, or `PYTHON`.
        folder: Where to look, a glob relative to the installation folder; empty: everywhere.
        patterns: What the file names match.
        without: Folders that are left out, by name.
        limit: Characters read of one file, so that no single one makes up a domain.
    """

    distribution: str
    folder: str
    patterns: tuple[str, ...]
    without: tuple[str, ...] = ()
    limit: int = 100_000

    def paths(self) -> list[tuple[str, Path]]:
        """Files by relative name, in an order that mixes folders and is the same everywhere."""
        base = root(self.distribution)
        if base is None:
            return []
        found: dict[str, Path] = {}
        for top in base.glob(self.folder) if self.folder else (base,):
            for path in [top] if top.is_file() else self._walk(top):
                if any(fnmatchcase(path.name, pattern) for pattern in self.patterns):
                    found[path.relative_to(base).as_posix()] = path
        return sorted(found.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())

    def _walk(self, top: Path) -> Iterator[Path]:
        skip = {"__pycache__", "site-packages", *self.without}
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name not in skip]
            yield from (Path(folder, name) for name in names)

    def read(self) -> Iterator[str]:
        """The text of each file that is UTF-8."""
        for _, path in self.paths():
            if text := read_text(path, self.limit):
                yield text
