"""The campaign's history, read so that each ended trial is fetched once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from filelock import FileLock

from admire_pipeline.tracking import history
from admire_pipeline.tracking.ledger import Ledger
from admire_pipeline.tracking.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

PAGE = 1000
"""Runs that MLflow gives at once."""
CHUNK = 200
"""Runs that are asked for at once by their ids."""


@dataclass(frozen=True)
class Snapshot:
    """The campaign at one moment.

    Attributes:
        ended: Trials that do not change any more, by their number.
        open: Runs that have not ended, drafts of trials among them.
        numbers: The run of each number in the ledger, in order; some may have been deleted.
    """

    ended: dict[int, Trial]
    open: list[Run]
    numbers: dict[int, str]

    @property
    def trials(self) -> list[Trial]:
        """Every trial of the campaign, in the order of the proposals."""
        number = {run_id: n for n, run_id in self.numbers.items()}
        trials = self.ended | {
            number[run.info.run_id]: history.read_trial(run)
            for run in self.open
            if run.info.run_id in number and history.is_proposed(run)
        }
        return [trials[n] for n in sorted(trials)]

    @property
    def drafts(self) -> list[Run]:
        """Runs that were made for a trial and hold no proposal."""
        return [run for run in self.open if history.is_draft(run)]


class History:
    """Reads the history of a campaign.

    Args:
        client: Of the tracking server.
        experiment: Of the campaign.
        ledger: Of the campaign.
        file: Where ended trials are kept on this machine; it may be removed at any time.
    """

    def __init__(self, client: MlflowClient, experiment: str, ledger: Ledger, file: Path) -> None:
        self._client = client
        self._experiment = experiment
        self._ledger = ledger
        self._file = file
        self._ended: dict[str, Trial] | None = None

    def read(self) -> Snapshot:
        """The history as it is now."""
        if self._ended is None:
            self._ended = _load(self._file)
        known = self._ended
        # In this order: whatever ends meanwhile was open, whatever is begun meanwhile has a number.
        conditions = [f"attributes.status != '{status}'" for status in history.ENDED]
        runs = self._search(" and ".join(conditions))
        numbers = self._ledger.read()
        deleted = {run.info.run_id for run in self._search(deleted=True)}
        self._forget(known, deleted & known.keys())
        seen = known.keys() | deleted | {run.info.run_id for run in runs}
        runs += self._fetch([run_id for run_id in numbers.values() if run_id not in seen])
        over = [run for run in runs if history.is_over(run) and history.is_proposed(run)]
        self._keep(known, [history.read_trial(r) for r in over if r.info.run_id not in known])
        ended = {number: known[i] for number, i in numbers.items() if i in known}
        # One that was ended, but whose status was not written, is open until somebody writes it.
        opened = [run for run in runs if run.info.status not in history.ENDED or run not in over]
        return Snapshot(ended, opened, numbers)

    def _fetch(self, run_ids: list[str]) -> list[Run]:
        if len(run_ids) > CHUNK:
            logger.info("reading %d trials", len(run_ids))
        runs: list[Run] = []
        for start in range(0, len(run_ids), CHUNK):
            names = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + CHUNK])
            runs += self._search(f"attributes.run_id IN ({names})")
        return runs

    def _search(self, condition: str = "", *, deleted: bool = False) -> list[Run]:
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], condition, view, max_results=PAGE, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _keep(self, known: dict[str, Trial], new: list[Trial]) -> None:
        known |= {trial.run_id: trial for trial in new}
        if new:
            self._write("a", new)

    def _forget(self, known: dict[str, Trial], run_ids: set[str]) -> None:
        """Leave out what was deleted; it is read again once it is restored."""
        for run_id in run_ids:
            del known[run_id]
        if run_ids:
            self._write("w", known.values())

    def _write(self, mode: str, trials: Iterable[Trial]) -> None:
        lines = (f"{crc32(line.encode()):08x} {line}\n" for line in map(Trial.to_line, trials))
        try:
            with FileLock(f"{self._file}.lock"), self._file.open(mode, encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:  # a full disk: they are read again next time
            logger.warning("%s: %s", self._file, error)


def _load(file: Path) -> dict[str, Trial]:
    """Trials by their run; none of a file that is damaged, so that all are read anew."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        if not file.exists():
            return {}
        try:
            return {t.run_id: t for t in map(_parse, file.read_text(encoding="utf-8").splitlines())}
        except (ValueError, TypeError, KeyError, RecursionError):
            file.unlink()
            return {}


def _parse(line: str) -> Trial:
    checksum, _, text = line.partition(" ")
    if int(checksum, 16) != crc32(text.encode()):
        raise ValueError("damaged")
    return Trial.from_line(text)
