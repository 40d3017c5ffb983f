"""The campaign's history, read so that each ended trial is fetched once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from admire_pipeline.tracking import history
from admire_pipeline.tracking.lease import is_given_back
from admire_pipeline.tracking.ledger import Ledger
from admire_pipeline.tracking.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

PAGE = 1000
"""Runs that MLflow gives at once."""
ENDED = ("FINISHED", "FAILED")
"""Statuses of a run that nobody works on or takes up again."""
FEW = 200
"""Runs that are asked for by their ids rather than with all others."""


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
        conditions = [f"attributes.status != '{status}'" for status in ENDED]
        runs = self._search(" and ".join(conditions))
        numbers = self._ledger.read()
        deleted = {run.info.run_id for run in self._search(deleted=True)}
        opened = {run.info.run_id: run for run in runs}
        new = [i for i in numbers.values() if i not in known | opened.keys() | deleted]
        fetched = self._fetch(new)
        opened |= {run.info.run_id: run for run in fetched if not _is_over(run)}
        over = [run for run in fetched if _is_over(run) and history.is_proposed(run)]
        self._keep([history.read_trial(run) for run in over if is_given_back(run)])
        trials = known | {run.info.run_id: history.read_trial(run) for run in over}
        ended = {n: trials[i] for n, i in numbers.items() if i in trials and i not in deleted}
        return Snapshot(ended, list(opened.values()), numbers)

    def _fetch(self, run_ids: list[str]) -> list[Run]:
        if not run_ids:
            return []
        if len(run_ids) <= FEW:
            names = ", ".join(f"'{run_id}'" for run_id in run_ids)
            return self._search(f"attributes.run_id IN ({names})")
        logger.info("reading %d trials", len(run_ids))
        wanted = set(run_ids)
        return [run for run in self._search() if run.info.run_id in wanted]

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

    def _keep(self, trials: list[Trial]) -> None:
        if self._ended is None or not trials:
            return
        self._ended |= {trial.run_id: trial for trial in trials}
        with FileLock(f"{self._file}.lock"), self._file.open("a", encoding="utf-8") as file:
            file.writelines(trial.to_line() + "\n" for trial in trials)


def _is_over(run: Run) -> bool:
    return run.info.status in ENDED and not history.is_resumable(run)


def _load(file: Path) -> dict[str, Trial]:
    """Trials by their run; of a file that was cut off, those before it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        return {}
    trials: dict[str, Trial] = {}
    with FileLock(f"{file}.lock"):
        lines = file.read_text(encoding="utf-8").splitlines()
    for line in lines:
        try:
            trial = Trial.from_line(line)
        except (ValueError, TypeError, KeyError):
            file.unlink(missing_ok=True)  # a worker was killed while it wrote; all is fetched anew
            return {}
        trials[trial.run_id] = trial
    return trials
