"""Published files: found on this machine, or downloaded, and known by their checksums."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from admire_pipeline.errors import UserError

logger = logging.getLogger(__name__)

RUNS_DIR = "ADMIRE_RUNS_DIR"
"""Environment variable: a folder that holds published files already."""
SECONDS = 30.0
"""How long a server may be silent."""


@dataclass(frozen=True)
class PublishedFile:
    """A file that does not change.

    Attributes:
        path: Where it stands in a folder of published files, e.g. ``regmix/train_mixture_1m.csv``.
        url: Where it is published, at a fixed commit.
        sha256: Of its bytes, in hexadecimal.
    """

    path: str
    url: str
    sha256: str


def locate(file: PublishedFile, cache: Path) -> Path:
    """Find a published file, or download it.

    It is looked for in the folder that ``ADMIRE_RUNS_DIR`` names, then in ``cache``; where it is in
    neither, it is downloaded into ``cache``, which holds it whole or not at all.

    Args:
        file: The file.
        cache: Folder for downloaded files; made if need be.

    Returns:
        Path of a file with the right checksum.

    Raises:
        UserError: If the file found is another one, or it cannot be downloaded.
    """
    given = os.environ.get(RUNS_DIR)
    for folder in [*([Path(given).expanduser()] if given else []), cache]:
        path = folder / file.path
        if path.is_file():
            _check(file, path, str(path))
            return path
    path = cache / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    logger.info("downloading %s", file.url)
    with TemporaryDirectory(dir=path.parent, prefix=".") as aside:
        part = Path(aside) / path.name
        _download(file, part, path)
        _check(file, part, file.url)
        part.replace(path)
    return path


def _download(file: PublishedFile, part: Path, path: Path) -> None:
    import requests

    try:
        with requests.get(file.url, timeout=SECONDS, stream=True) as answer:
            answer.raise_for_status()
            with part.open("wb") as out:
                for block in answer.iter_content(1 << 16):
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
    except requests.RequestException as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file.url} cannot be downloaded ({reason}); put the file at {path}, or set "
            f"{RUNS_DIR} to a folder that holds it as {file.path}"
        ) from None


def _check(file: PublishedFile, path: Path, where: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise UserError(
            f"{where}: not the published file (its SHA-256 is {found}); allowed: the file of "
            f"{file.url}, SHA-256 {file.sha256}"
        )
