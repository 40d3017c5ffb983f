"""Finding and reading the text files of installed distributions, without importing them."""

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


def root(distribution: str) -> Path | None:
    """The folder that holds a distribution's packages; None if it is not installed."""
    if distribution == PYTHON:
        return Path(sysconfig.get_path("stdlib"))
    try:
        return Path(str(metadata.distribution(distribution).locate_file("")))
    except metadata.PackageNotFoundError:
        return None


def versions(distributions: tuple[str, ...]) -> dict[str, str | None]:
    """Version per distribution, of Python and of this code; None for what is not installed."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    found: dict[str, str | None] = {
        PYTHON: platform.python_version(),
        "code": hashlib.sha256(code).hexdigest(),
    }
    for name in distributions:
        if name != PYTHON:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = None
    return found


def read_text(path: Path) -> str | None:
    """The file's text; None if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def beginning(text: str, limit: int) -> str:
    """The whole lines within the first `limit` characters; a longer first line is cut."""
    if len(text) <= limit:
        return text
    return text[: text.rfind("\n", 0, limit) + 1] or text[:limit]


@dataclass(frozen=True)
class Files:
    """Text files of one distribution.

    Attributes:
        distribution: Its name, or `PYTHON`.
        folder: Where to look, a glob relative to the installation folder; empty: everywhere.
        patterns: What the file names match.
        without: Folders that are left out, by name.
    """

    distribution: str
    folder: str
    patterns: tuple[str, ...]
    without: tuple[str, ...] = ()

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
            if text := read_text(path):
                yield text
