"""Ended trials, which do not change: kept on this machine, and with the ledger for new ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zlib import crc32

from filelock import FileLock

from admire_pipeline.tracking.artifacts import fetch_artifact
from admire_pipeline.tracking.server import impatient, root_cause
from admire_pipeline.tracking.trial import Trial, TrialStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SHARED = "history.jsonl"
"""Artifact of a ledger."""
PATIENCE = 30.0
"""Seconds that an MLflow server may take to answer: all that it holds can be read from the runs."""
COPIES = 1.5
"""Lines for each trial of a machine's file, from which on it is written anew: workers of one
machine each add what they have seen."""


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
            text = self._file.read_bytes() if self._file.exists() else b""
        # Not under the lock: a worker that is suspended here would hold up all others.
        try:
            trials = _parse(text)
            anew = text.count(b"\n") > COPIES * len(trials)
        except ValueError:
            trials, anew = {}, True
        if anew:
            self.replace(trials.values())
        return trials

    def add(self, trials: Iterable[Trial]) -> None:
        """Keep more trials."""
        self._write("ab", _lines(trials))

    def replace(self, trials: Iterable[Trial]) -> None:
        """Keep these trials and no others."""
        self._write("wb", _lines(trials))

    def share(self, trials: Iterable[Trial]) -> None:
        """Leave the trials with the ledger, in place of those there."""
        try:
            with TemporaryDirectory() as aside, impatient(PATIENCE):
                file = Path(aside) / SHARED
                file.write_bytes(_lines(trials))
                self._client.log_artifact(self._ledger, str(file))
        except Exception as error:  # of the disk, or of any library for artifacts
            logger.warning("the history is not shared: %s", root_cause(error))

    def fetch(self, *, keep: bool) -> dict[str, Trial]:
        """Trials by their run that somebody has left with the ledger.

        Args:
            keep: Keep the file on this machine as it is.
        """
        try:
            with TemporaryDirectory() as aside, impatient(PATIENCE):
                file = Path(aside) / SHARED
                found = fetch_artifact(self._client, self._ledger, file)
                text = file.read_bytes() if found else b""
            trials = _parse(text)
        except Exception as error:
            logger.warning("the shared history is left out: %s", root_cause(error))
            return {}
        if keep:
            self._write("ab", text)
        return trials

    def _write(self, mode: str, text: bytes) -> None:
        try:
            with FileLock(f"{self._file}.lock"), self._file.open(mode) as file:
                file.write(text)
        except OSError as error:  # a full disk: they are read again next time
            logger.warning("%s: %s", self._file, error)


def _lines(trials: Iterable[Trial]) -> bytes:
    lines = (trial.to_line().encode() for trial in trials)
    return b"".join(b"%08x %b\n" % (crc32(line), line) for line in lines)


def _parse(file: bytes) -> dict[str, Trial]:
    """Trials by their run.

    Raises:
        ValueError: If a line is damaged, or of a trial that has not ended.
    """
    trials = {}
    for line in BytesIO(file):  # one at a time: all of them would be the file once more
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if int(checksum, 16) != crc32(text):
            raise ValueError("a line is damaged")
        try:
            trial = Trial.from_line(text.decode())
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError("a line is no trial") from error
        if trial.status is TrialStatus.PENDING:
            raise ValueError("a trial in it has not ended")
        trials[trial.run_id] = trial
    return trials
