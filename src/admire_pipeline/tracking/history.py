"""The campaign's history, read so that each ended trial is fetched once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from admire_pipeline.tracking import run_format
from admire_pipeline.tracking.cache import Cache
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
SHARE = 100
"""Trials that a machine reads for itself, and after which it shares what it has read."""


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
            number[run.info.run_id]: run_format.read_trial(run)
            for run in self.open
            if run.info.run_id in number and run_format.is_proposed(run)
        }
        return [trials[n] for n in sorted(trials)]

    @property
    def drafts(self) -> list[Run]:
        """Runs that were made for a trial and hold no proposal."""
        return [run for run in self.open if run_format.is_draft(run)]


class History:
    """Reads the history of a campaign.

    Args:
        client: Of the tracking server.
        experiment: Of the campaign.
        ledger: Of the campaign.
        cache: Of ended trials.
    """

    def __init__(self, client: MlflowClient, experiment: str, ledger: Ledger, cache: Cache) -> None:
        self._client = client
        self._experiment = experiment
        self._ledger = ledger
        self._cache = cache
        self._known = cache.load()
        self._shared = len(self._known) // SHARE * SHARE

    def read(self) -> Snapshot:
        """The history as it is now."""
        known = self._known
        # In this order: whatever ends meanwhile was open, whatever is begun meanwhile has a number.
        conditions = [f"attributes.status != '{status}'" for status in run_format.ENDED]
        pending = self._search(" and ".join(conditions))
        numbers = self._ledger.read()
        deleted = {run.info.run_id for run in self._search(deleted=True)}
        self._forget(deleted & known.keys())
        seen = known.keys() | deleted | {run.info.run_id for run in pending}
        missing = [run_id for run_id in numbers.values() if run_id not in seen]
        opened: list[Run] = []
        for runs in chain([pending], self._fetch(missing)):
            over = [run for run in runs if run_format.is_over(run) and run_format.is_proposed(run)]
            self._keep([run_format.read_trial(r) for r in over if r.info.run_id not in known])
            # One that was ended, but whose status was not written, is open until somebody does.
            opened += [
                run for run in runs if run.info.status not in run_format.ENDED or run not in over
            ]
        # By whoever is the first to see so many, or by several who see them at once.
        if len(known) >= self._shared + SHARE:
            self._cache.share(known.values())
            self._shared = len(known) // SHARE * SHARE
        ended = {number: known[i] for number, i in numbers.items() if i in known}
        return Snapshot(ended, opened, numbers)

    def _fetch(self, missing: list[str]) -> Iterator[list[Run]]:
        """The missing runs, some at a time, without those whose trials others have shared."""
        if len(missing) >= SHARE:
            logger.info("reading %d trials", len(missing))
            # Line by line, thousands take as long to write as to fetch.
            whole = not self._known
            shared = self._cache.fetch(keep=whole)
            self._shared = max(self._shared, len(shared))
            found = {run_id: shared[run_id] for run_id in missing if run_id in shared}
            if whole:
                self._known |= found
            else:
                self._keep(list(found.values()))
            missing = [run_id for run_id in missing if run_id not in shared]
        for start in range(0, len(missing), CHUNK):
            names = ", ".join(f"'{run_id}'" for run_id in missing[start : start + CHUNK])
            yield self._search(f"attributes.run_id IN ({names})")

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

    def _keep(self, new: list[Trial]) -> None:
        if new:
            self._known |= {trial.run_id: trial for trial in new}
            self._cache.add(new)

    def _forget(self, run_ids: set[str]) -> None:
        """Leave out what was deleted; it is read again once it is restored."""
        if run_ids:
            for run_id in run_ids:
                del self._known[run_id]
            self._cache.replace(self._known.values())
            if self._shared:  # nor may a new machine read of it
                self._cache.share(self._known.values())
