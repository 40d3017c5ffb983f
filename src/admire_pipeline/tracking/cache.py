"""Ended trials, which do not change: kept on this machine, and with the ledger for new ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zlib import crc32

from filelock import FileLock

from admire_pipeline.credentials import masked
from admire_pipeline.tracking.artifacts import fetch_artifact
from admire_pipeline.tracking.server import impatient
from admire_pipeline.tracking.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SHARED = "history.jsonl"
"""Artifact of a ledger."""
PATIENCE = 30.0
"""Seconds that MLflow may take for it: all that it holds can be read from the runs as well."""


class Cache:
    """Ended trials of a campaign, a line each, with its checksum.

    Args:
        client: Of the tracking server.
        ledger: Run that is the campaign's ledger.
        folder: Of the file on this machine; it may be removed at any time.
    """

    def __init__(self, client: MlflowClient, ledger: str, folder: Path) -> None:
        self._client = client
        self._ledger = ledger
        self._file = folder / f"{ledger}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, Trial]:
        """Trials by their run; none of a file that is damaged, so that all are read anew."""
        with FileLock(f"{self._file}.lock"):
            if not self._file.exists():
                return {}
            try:
                return _read(self._file)
            except ValueError:
                self._file.unlink()
                return {}

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep more trials."""
        self._write("a", _lines(trials))

    def replace(self, trials: Iterable[Trial]) -> None:
        """Keep these trials and no others."""
        self._write("w", _lines(trials))

    def share(self, trials: Iterable[Trial]) -> None:
        """Leave the trials with the ledger, in place of those there."""
        with TemporaryDirectory() as aside:
            file = Path(aside) / SHARED
            file.write_text(_lines(trials), encoding="utf-8")
            try:
                with impatient(PATIENCE):
                    self._client.log_artifact(self._ledger, str(file))
            except Exception as error:  # of any library for artifacts
                logger.warning("the history is not shared: %s", masked(str(error)))

    def fetch(self) -> dict[str, Trial]:
        """Trials by their run that somebody has left with the ledger; kept here too from now on."""
        with TemporaryDirectory() as aside:
            file = Path(aside) / SHARED
            try:
                with impatient(PATIENCE):
                    found = fetch_artifact(self._client, self._ledger, file)
                trials = _read(file) if found else {}
            except Exception as error:
                logger.warning("the shared history is left out: %s", masked(str(error)))
                return {}
            if found:
                self._write("a", file.read_text(encoding="utf-8"))
            return trials

    def _write(self, mode: str, text: str) -> None:
        try:
            with FileLock(f"{self._file}.lock"), self._file.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:  # a full disk: they are read again next time
            logger.warning("%s: %s", self._file, error)


def _lines(trials: Iterable[Trial]) -> str:
    return "".join(f"{crc32(line.encode()):08x} {line}\n" for line in map(Trial.to_line, trials))


def _read(file: Path) -> dict[str, Trial]:
    """Trials by their run.

    Raises:
        ValueError: If the file is damaged.
    """
    with file.open("rb") as lines:
        return {trial.run_id: trial for trial in map(_parse, lines)}


def _parse(line: bytes) -> Trial:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if int(checksum, 16) != crc32(text):
        raise ValueError("damaged")
    try:
        return Trial.from_line(text.decode())
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("damaged") from error
