"""Files and folders that a crash leaves whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

import os
from pathlib import Path


def sync(folder: Path) -> None:
    """Wait until the folder, and the files in it, are on the disk."""
    for path in [*folder.iterdir(), folder]:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
