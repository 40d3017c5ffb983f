"""The campaign's ledger: which run is its first trial, which its second, and so on.

A ledger is an MLflow run of its own, in an experiment that holds the ledgers of all campaigns. Its
parameters name the trials, and no worker can change what another one has written there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from admire_pipeline.errors import UserError
from admire_pipeline.names import is_run_id
from admire_pipeline.tracking.write_once import write_once

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "admire-ledgers"
"""MLflow experiment with one run for each campaign."""

LEDGER = "admire.ledger"
"""Tag of a campaign's experiment: the run that is its ledger. It is written when the experiment is
made, of which MLflow lets one worker of many succeed, and never changed."""

_TRIAL = "trial."


class Ledger:
    """The numbers of a campaign's trials.

    Args:
        client: Of the tracking server.
        run_id: The ledger's run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def admit(self, number: int, run_id: str) -> bool:
        """Make a run the trial of this number; whether it is, or another one was before."""
        return write_once(self._client, self.run_id, f"{_TRIAL}{number}", run_id)

    def read(self) -> dict[int, str]:
        """The run of each number, in order; some may have been deleted since.

        Raises:
            UserError: If somebody has written there what no worker writes.
        """
        run = self._client.get_run(self.run_id)
        if run.info.lifecycle_stage != "active":
            raise UserError(
                f"campaign.name: its ledger, run {self.run_id} of {EXPERIMENT!r}, was deleted; "
                f"allowed: `mlflow runs restore --run-id {self.run_id}` (where all of "
                f"{EXPERIMENT!r} was: `mlflow experiments restore -x {run.info.experiment_id}`), "
                "or a new name"
            )
        params = run.data.params
        pairs = [(k.removeprefix(_TRIAL), v) for k, v in params.items() if k.startswith(_TRIAL)]
        for number, run_id in pairs:
            if not (re.fullmatch("[0-9]{1,9}", number) and is_run_id(run_id)):
                raise UserError(
                    f"campaign.name: its ledger, run {self.run_id}, names {run_id[:64]!r} as trial "
                    f"{number[:64]!r}; allowed: the id of a run as a number, or a new name"
                )
        return dict(sorted((int(number), run_id) for number, run_id in pairs))


def begin_ledger(client: MlflowClient, name: str, location: str | None) -> str:
    """Make a ledger for a campaign that may be new; its run.

    Args:
        client: Of the tracking server.
        name: Of the campaign.
        location: Where artifacts of ledgers are kept; None where the server says.
    """
    run = client.create_run(_experiment(client, location), run_name=name)
    # It never ends, but one that seems to be at work would be looked at again and again.
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _experiment(client: MlflowClient, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    if (experiment := client.get_experiment_by_name(EXPERIMENT)) is not None:
        if experiment.lifecycle_stage != "active":
            raise UserError(
                f"campaign.tracking_uri: its experiment {EXPERIMENT!r}, in which campaigns are "
                "counted, was deleted; allowed: `mlflow experiments restore -x "
                f"{experiment.experiment_id}`, or another server"
            )
        return str(experiment.experiment_id)
    try:
        return str(client.create_experiment(EXPERIMENT, location))
    except MlflowException:
        if (experiment := client.get_experiment_by_name(EXPERIMENT)) is None:
            raise
        return str(experiment.experiment_id)  # another campaign's worker was faster
