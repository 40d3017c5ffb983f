"""Folders that are written aside and renamed, so that a crash leaves them whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def sync(folder: Path, files: bool = True) -> None:
    """Wait until the folder, and the files in it, are on the disk.

    Args:
        folder: What to wait for.
        files: Whether its files count too, or only their names in it.
    """
    for path in [*(folder.iterdir() if files else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
