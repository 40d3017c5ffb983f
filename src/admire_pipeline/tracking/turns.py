"""Whose turn it is to propose the next trial."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.errors import CampaignOver
from admire_pipeline.tracking import run_format
from admire_pipeline.tracking.history import History, Snapshot
from admire_pipeline.tracking.lease import Lease, find_free, first_tags, take_over
from admire_pipeline.tracking.ledger import Ledger
from admire_pipeline.tracking.server import commit_tag, impatient
from admire_pipeline.tracking.settings import CampaignSettings
from admire_pipeline.tracking.trial import spent

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

WAIT = 1.0
"""Seconds between two looks at a worker that is proposing."""


class Turns:
    """Lets one worker at a time propose, each with all earlier proposals in its history.

    So no two propose the same, and the budget is not overspent by many at once. A turn is the lease
    of a draft, a run without a proposal, that the ledger names as the next trial.

    Args:
        client: Of the tracking server.
        experiment: Of the campaign.
        ledger: Of the campaign.
        history: Of the campaign.
        settings: The campaign.
        project: Root folder of the project.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        client: MlflowClient,
        experiment: str,
        ledger: Ledger,
        history: History,
        settings: CampaignSettings,
        project: Path,
    ) -> None:
        self._client = client
        self._experiment = experiment
        self._ledger = ledger
        self._history = history
        self._settings = settings
        self._project = project

    def take(self, known: Snapshot | None = None) -> tuple[Lease, Snapshot]:
        """Take the next turn; wait while it is another worker's.

        Args:
            known: The history as it was a moment ago, with no run open; None: it is read. Where
                the ledger admits this worker to the number after its last, nobody has begun since,
                and what it says is whole. Else it is read again.

        Returns:
            The lease of the run to propose in, and the history with all that was proposed before.

        Raises:
            CampaignOver: If the budget is spent.
        """
        waiting = False
        while True:
            history = known or self._history.read()
            drafts = self._drafts(history)
            self._check_budget(history)
            free = next(find_free(self._client, drafts, self._settings.heartbeat_timeout), None)
            lease = None
            if free is not None:
                lease = self._take_over(free)
            elif not drafts:
                lease = self._begin(history)
            if lease is not None:
                return lease, history
            if known is not None:  # somebody has begun since
                known = None
                continue
            if not waiting:
                logger.info("waiting for another worker's proposal")
                waiting = True
            time.sleep(WAIT)

    def give_up(self, lease: Lease) -> None:
        """Leave the turn to whoever asks for it next; its run waits for that.

        Raises:
            LostLease: If another worker has taken it over already.
        """
        lease.end()
        lease.check()
        lease.give_back("SCHEDULED")
        self._client.update_run(lease.run_id, status="SCHEDULED")

    def _drafts(self, known: Snapshot) -> list[Run]:
        """Runs in which a trial may be proposed yet."""
        drafts = []
        for run in known.drafts:
            if known.numbers.get(run_format.number_of(run), run.info.run_id) == run.info.run_id:
                drafts.append(run)
            else:  # another run has its number: one of two that were as fast
                self._client.delete_run(run.info.run_id)
        return drafts

    def _check_budget(self, known: Snapshot) -> None:
        if (paid := spent(known.trials)) >= self._settings.budget:
            raise CampaignOver(
                f"campaign {self._settings.name!r}: its budget is spent ({paid:.2f} of "
                f"{self._settings.budget:.2f}); raise campaign.budget to go on"
            )

    def _take_over(self, run: Run) -> Lease | None:
        epoch = take_over(self._client, run)
        return None if epoch is None else self._admit(run, epoch)

    def _begin(self, known: Snapshot) -> Lease | None:
        number = max(known.numbers, default=0) + 1
        tags = {run_format.NUMBER: str(number), "mlflow.source.name": "kedro", **first_tags()}
        run = self._client.create_run(
            self._experiment,
            tags=tags | commit_tag(self._project),
            run_name=run_format.draft_name(number),
        )
        return self._admit(run, 0)

    def _admit(self, run: Run, epoch: int) -> Lease | None:
        lease = Lease(self._client, run.info.run_id, epoch, self._settings.heartbeat_timeout)
        try:
            if self._ledger.admit(run_format.number_of(run), run.info.run_id):
                self._client.update_run(run.info.run_id, status="RUNNING")
                return lease
        except BaseException:
            # Nobody else knows of this lease: it must not be kept alive. Where the server does not
            # hear of it, the run is free once the lease has been silent.
            with suppress(Exception), impatient(self._settings.server_timeout):
                self.give_up(lease)
            raise
        lease.end()
        self._client.delete_run(run.info.run_id)  # another worker was faster
        return None
