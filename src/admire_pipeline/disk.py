"""Files and folders that a crash leaves whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def sync(folder: Path) -> None:
    """Wait until the folder, and all in it, is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync_file(path)


def sync_file(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part."""
    save_atomically(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def save_atomically(path: Path, save: Callable[[Path], object]) -> None:
    """The same for what saves itself.

    Args:
        path: The file; its folder is made where it is missing.
        save: Writes to the path that it is given, which has the ending of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # By process: workers share the files of a campaign, and benchmarks those of a folder.
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        save(aside)
        sync_file(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
