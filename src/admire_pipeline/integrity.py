"""Telling a file that holds what was written to it from one that does not.

A disk, a copy or a person may change a file without a word. CRC-32 finds every flipped bit and cut,
and reads several GB/s; it is no protection from somebody who wants to deceive.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from admire_pipeline.disk import write_atomically

BLOCK = 1 << 24
"""Bytes that are read at once."""

CHECKSUM = "checksum"
"""Key of a sealed file's own checksum."""


class DamagedError(ValueError):
    """A file does not hold what was written to it; the message names it."""


def checksum(path: Path) -> str:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return f"{size}-{crc:08x}"


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Checksums of files in a folder, by name; read on all cores."""
    names = list(names)
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(checksum, [folder / name for name in names]), strict=True))


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Compare files with their checksums.

    Args:
        folder: Where they are.
        expected: Checksums by name within the folder.

    Raises:
        DamagedError: If one is missing or holds something else.
    """
    for name in expected:
        if not (folder / name).is_file():
            raise DamagedError(f"{name} is missing")
    for name, found in checksums(folder, expected).items():
        if found != expected[name]:
            raise DamagedError(f"{name} does not hold what was written to it")


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that holds its own checksum, atomically."""
    content = json.loads(json.dumps(content))  # as it will be read: keys are text, tuples lists
    sealed = {**content, CHECKSUM: _checksum_of(content)}
    write_atomically(path, json.dumps(sealed, indent=2))


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a file that `write_sealed` has written.

    Raises:
        DamagedError: If it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop(CHECKSUM) == _checksum_of(content):
            return dict(content)
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    raise DamagedError(f"{path.name} does not hold what was written to it")


def keep_checksum(path: Path) -> None:
    """Keep a file's checksum in a hidden one beside it."""
    write_atomically(_beside(path), checksum(path))


def check_kept(path: Path) -> None:
    """Compare a file with the checksum that was kept of it.

    Raises:
        DamagedError: If it is missing, or holds something else.
    """
    beside = _beside(path)
    kept = beside.read_text(encoding="utf-8", errors="replace") if beside.exists() else ""
    check_files(path.parent, {path.name: kept})


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{CHECKSUM}")


def _checksum_of(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"
