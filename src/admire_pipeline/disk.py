"""Files and folders that a crash leaves whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

logger = logging.getLogger(__name__)


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


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What fails here is the disk's fault, whatever error a library makes of it.

    What was written of the folder is removed: a full disk has room again for what must be said.

    Raises:
        OSError: If it could not be written.
    """
    try:
        yield
    except Exception as error:
        free = shutil.disk_usage(folder.parent).free if folder.parent.exists() else 0
        shutil.rmtree(folder, ignore_errors=True)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"{folder} could not be written ({reason}; {free / 1e9:.1f} GB free)"
        ) from error


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part."""
    save_atomically(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_cached(path: Path) -> Any:
    """Read a JSON file that can be made anew: None where there is none, or a broken one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        logger.warning("%s cannot be read; it is made anew", path)
        return None


def save_atomically(path: Path, save: Callable[[Path], object]) -> None:
    """The same for what saves itself.

    Args:
        path: The file; its folder is made where it is missing.
        save: Writes to the path that it is given, which has the ending of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Workers share the files of a campaign, and benchmarks those of a folder. A process id would
    # not tell them apart: containers on one volume may all have the same.
    aside = path.with_name(f".{token_hex(4)}.{path.name}")
    try:
        save(aside)
        sync_file(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
