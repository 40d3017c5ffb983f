"""A campaign's trials in MLflow: open, claim, log, observe, finish, fail, release."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from admire_pipeline.credentials import masked
from admire_pipeline.disk import write_atomically
from admire_pipeline.errors import UserError
from admire_pipeline.names import is_run_id
from admire_pipeline.tracking import run_format
from admire_pipeline.tracking.artifacts import fetch_artifact
from admire_pipeline.tracking.cache import Cache
from admire_pipeline.tracking.history import History, Snapshot
from admire_pipeline.tracking.lease import Lease, find_free, outcome, take_over
from admire_pipeline.tracking.ledger import LEDGER, Ledger, begin_ledger
from admire_pipeline.tracking.server import STORE_FOLDER, connect
from admire_pipeline.tracking.settings import CampaignSettings
from admire_pipeline.tracking.trial import Observation, Trial, TrialDraft
from admire_pipeline.tracking.turns import Turns
from admire_pipeline.tracking.write_once import write_once

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

TRIALS_FOLDER = Path("data/06_models/trials")
"""Within the project: one folder per trial, named by its run id."""
HISTORY_FOLDER = STORE_FOLDER / "history"
"""Within the project: what was read of campaigns, a file each; it may be removed at any time."""
CONFIG_HASH = "admire.config_hash"
BATCH = 100
"""Parameters that MLflow takes in one call."""


class CampaignStore:
    """The trials of one campaign, and the one that this process works on.

    Args:
        settings: The campaign.
        project: Root folder of the project.
        config: The whole resolved config; its hash and text are kept with each trial.
        serves: Fidelities of the trials that this worker takes up; None: all.
        begins: Begin the campaign where it is new.
    """

    def __init__(
        self,
        settings: CampaignSettings,
        project: Path,
        config: Mapping[str, Any],
        serves: Collection[str] | None = None,
        *,
        begins: bool = True,
    ) -> None:
        self.settings = settings
        self.project = project
        self._config = dict(config)
        self._serves = serves
        self._begins = begins
        # How much a campaign may spend does not change what a trial is, nor who runs it.
        campaign = {k: v for k, v in config["campaign"].items() if k != "budget"}
        what = {k: v for k, v in self._config.items() if k != "worker"} | {"campaign": campaign}
        self._config_hash = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        self._open: Trial | None = None
        self._lease: Lease | None = None
        self._turn: Lease | None = None
        self._snapshot: Snapshot | None = None

    @cached_property
    def _connection(self) -> tuple[MlflowClient, str, Ledger]:
        begun: list[str] = []

        def begin(client: MlflowClient, location: str | None) -> dict[str, str]:
            if not begun:  # it is asked again where the server did not answer
                begun.append(begin_ledger(client, self.settings.name, location))
            return {LEDGER: begun[0]}

        client, experiment = connect(self.settings, self.project, begin, create=self._begins)
        ledger = experiment.tags.get(LEDGER)
        if ledger is None or not is_run_id(ledger):
            raise UserError(
                f"campaign.name: {self.settings.name!r} is an MLflow experiment that no campaign "
                "has made, or one before 0.1.0; allowed: a new name"
            )
        for run_id in begun:
            if run_id != ledger:  # another worker has made the experiment meanwhile
                client.delete_run(run_id)
        return client, str(experiment.experiment_id), Ledger(client, ledger)

    @property
    def client(self) -> MlflowClient:
        """The MLflow client; the first use connects (raises UserError)."""
        return self._connection[0]

    @property
    def experiment(self) -> str:
        """MLflow's id of the campaign's experiment."""
        return self._connection[1]

    @cached_property
    def _history(self) -> History:
        client, experiment, ledger = self._connection
        cache = Cache(client, ledger.run_id, self.project / HISTORY_FOLDER)
        return History(client, experiment, ledger, cache)

    @cached_property
    def _turns(self) -> Turns:
        client, experiment, ledger = self._connection
        return Turns(client, experiment, ledger, self._history, self.settings, self.project)

    def folder(self, trial: Trial) -> Path:
        """The trial's own folder."""
        return self.project / TRIALS_FOLDER / trial.run_id

    def trials(self) -> list[Trial]:
        """Every trial of the campaign, in the order of their proposals.

        All stages that follow an observation see the same history, whatever others do meanwhile.
        """
        return self._known.trials

    def ended(self) -> list[Trial]:
        """The trials that nobody works on or takes up again."""
        return list(self._known.ended.values())

    @property
    def _known(self) -> Snapshot:
        if self._snapshot is None:
            self._snapshot = self._history.read()
        return self._snapshot

    def take_turn(self, known: Snapshot | None = None) -> None:
        """Become the one worker that proposes the next trial; wait while another one is it.

        Args:
            known: The history as it was a moment ago; None: it is read.

        Raises:
            CampaignOver: If the budget is spent.
        """
        if self._turn is None:
            self._turn, self._snapshot = self._turns.take(known)

    def give_up_turn(self) -> None:
        """Leave the next proposal to whoever asks for it; nothing where this is not the one."""
        if (turn := self._turn) is not None:
            self._turn = None
            self._turns.give_up(turn)

    def open(self, draft: TrialDraft) -> Trial:
        """Open the MLflow run of a proposal; this process works on it from here on.

        Raises:
            UserError: If the proposal does not fit into a parameter (some hundred domains).
            CampaignOver: If the budget is spent.
        """
        proposal = run_format.write_proposal(draft)
        if len(proposal) > run_format.PARAM_LIMIT:
            raise UserError(
                f"corpus.domains: {len(draft.mixture)} domains make a proposal of {len(proposal)} "
                f"characters; allowed: {run_format.PARAM_LIMIT}, use fewer domains or shorter names"
            )
        self.take_turn()
        turn = cast(Lease, self._turn)
        turn.check()
        tags = {
            "admire.based_on": run_format.lineage_tag(draft.based_on),
            CONFIG_HASH: self._config_hash,
            "admire.policy": draft.policy,
            "admire.phase": draft.phase,
        }
        if draft.acquisition_value is not None:
            tags["admire.acquisition_value"] = repr(draft.acquisition_value)
        if not write_once(self.client, turn.run_id, run_format.PROPOSAL, proposal, tags):
            self.give_up_turn()  # raises where the turn was lost
            raise UserError(
                f"campaign {self.settings.name!r}: who had this turn before was slow, but fast "
                "enough to propose; the same command goes on"
            )
        run = self.client.get_run(turn.run_id)
        self._turn = None
        return self._take(run, turn, draft.provenance)

    def claim(self) -> Trial | None:
        """The trial that this process works on, else an interrupted one, taken over; else None."""
        if self._open is not None or self._turn is not None:
            return self._open
        self._snapshot = None
        trials = [run for run in self._known.open if run_format.is_proposed(run)]
        for run in trials:
            if run_format.is_over(run):  # its holder was killed before its last word
                self._terminate(run, outcome(run))
        left = [run for run in trials if not run_format.is_over(run) and self._is_served(run)]
        timeout = self.settings.heartbeat_timeout
        for run in find_free(self.client, left, timeout):
            epoch = take_over(self.client, run)
            if epoch is None:
                continue  # another worker was faster
            now = self.client.get_run(run.info.run_id)
            # Not before: until it is in `_take`, nobody would end it where a request fails.
            lease = Lease(self.client, run.info.run_id, epoch, timeout)
            if (ended := outcome(now, epoch - 1)) in run_format.ENDED:
                lease.end()
                lease.give_back(ended)  # by its holder, meanwhile
                continue
            trial = self._take(now, lease)
            logger.info("%s: taking it up again", trial.name)
            return trial
        return None

    def take_up(self) -> Trial | None:
        """An interrupted trial of which something is left to do; None at this worker's turn.

        One with a score is ended: nothing of it is left to pay for, and the next report is as good
        as the one that is missing.

        Raises:
            CampaignOver: If there is none, and the budget is spent.
        """
        while (trial := self.claim()) is not None:
            if trial.score is None:
                return trial
            self.finish()
        # Of thousands of trials, what was just read is not read again for nothing.
        self.take_turn(None if self._known.open else self._known)
        return None

    def current(self) -> Trial:
        """The open trial.

        Raises:
            UserError: If there is none.
        """
        trial = self.claim()
        if trial is None:
            raise UserError(
                f"campaign {self.settings.name!r} has no open trial; "
                "run `kedro run --pipelines=proposal` or `admire_step` first"
            )
        return trial

    @property
    def at_work(self) -> Trial | None:
        """The trial that this process has opened or taken over and not ended, if any."""
        return self._open

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters of the open trial; floats as `repr`, which reads back bit for bit."""
        from mlflow.entities import Param

        entities = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(entities), BATCH):
            self.client.log_batch(
                self.current().run_id, params=entities[start : start + BATCH], synchronous=True
            )

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of the trial in one call."""
        from mlflow.entities import Metric

        self._held().check_here()
        now = int(time.time() * 1000)
        entities = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self.client.log_batch(self.current().run_id, metrics=entities, synchronous=True)

    def last_step(self, metric: str) -> int:
        """Largest step at which the open trial has logged `metric`; -1 where it has none."""
        points = self.client.get_metric_history(self.current().run_id, metric)
        return max((point.step for point in points), default=-1)

    def check_lease(self) -> None:
        """Make sure that the open trial is this worker's yet.

        Raises:
            LostLease: If another one has taken it over.
        """
        self._held().check()

    def log_artifact(self, path: Path) -> None:
        """Keep a file with the trial's run."""
        self.check_lease()
        self.client.log_artifact(self.current().run_id, str(path))

    def fetch_artifact(self, path: Path) -> bool:
        """Bring a file of the trial's run to `path`, whole; whether there was one."""
        return fetch_artifact(self.client, self.current().run_id, path)

    def observe(self, observation: Observation) -> None:
        """Log what the open trial's evaluation found; it counts as observed from here on."""
        lease = self._held()
        lease.check()
        self.log_params(observation.params)
        self._snapshot = None
        # MLflow takes the value of the latest step for the metric's: what a former holder of the
        # lease logs late, at an earlier one, does not replace it.
        self.log_metrics(observation.metrics, step=lease.epoch)

    def finish(self) -> None:
        """End the open trial FINISHED."""
        self._end("FINISHED", {})

    def fail(self, reason: str) -> None:
        """End the open trial FAILED; its cost stays, since it has been paid.

        One that has been evaluated ends FINISHED, with the reason: its score is as good as any.
        """
        if self._open is None:
            return
        try:
            self._fail(reason)
        finally:
            if self._lease is not None:
                self._let_go()

    def _fail(self, reason: str) -> None:
        trial, lease = cast(Trial, self._open), self._held()
        if run_format.is_scored(self.client.get_run(trial.run_id)):
            status = "FINISHED"
        else:
            status = "FAILED"
            lease.check()
            self.log_metrics({"cost": trial.cost}, step=lease.epoch)
        self._end(status, {run_format.REASON: masked(reason)[: run_format.TAG_LIMIT]})

    def release(self, *, interrupted: bool) -> None:
        """Leave the open trial for a later process to finish.

        Args:
            interrupted: Ends it KILLED and resumable; else SCHEDULED, waiting for its next stage.
        """
        if self._open is not None:
            self._end("KILLED" if interrupted else "SCHEDULED", {run_format.RESUMABLE: "true"})

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        """End the open trial.

        Raises:
            LostLease: If another worker has taken it over: then it is left as it is.
        """
        lease = self._held()
        # Whether or not the server hears of it, this process is through with the trial.
        self._let_go()
        run = lease.check()
        lease.give_back(status, tags)
        if status == "SCHEDULED":
            self.client.update_run(lease.run_id, status=status)
        else:
            self._terminate(run, status)

    def _terminate(self, run: Run, status: str | None) -> None:
        """End a run in MLflow, never before it began: clocks jump, and those of workers differ."""
        end = max(int(time.time() * 1000), run.info.start_time)
        self.client.set_terminated(run.info.run_id, status, end)

    def _take(self, run: Run, lease: Lease, provenance: Mapping[str, str] | None = None) -> Trial:
        trial = run_format.read_trial(run)
        trial = replace(trial, provenance={**trial.provenance, **(provenance or {})})
        self._open, self._lease, self._snapshot = trial, lease, None
        if (run.info.run_name, run.info.status) != (trial.name, "RUNNING"):
            self.client.update_run(trial.run_id, "RUNNING", trial.name)
        # Logged again when a trial is taken up: it may have been killed before it got this far.
        self.log_params(
            {f"mixture.{domain}": repr(weight) for domain, weight in trial.mixture.items()}
            | {
                "fidelity": trial.fidelity,
                "policy": trial.policy,
                "phase": trial.phase,
                "seed": trial.seed,
                "expected_cost": repr(trial.cost),
            }
            | dict(trial.provenance)
        )
        if run.data.tags.get(CONFIG_HASH) == self._config_hash:
            self.client.log_dict(trial.run_id, self._config, "config.yaml")
        write_atomically(self.folder(trial) / "trial.json", trial.to_json())
        return trial

    def _is_served(self, run: Run) -> bool:
        return self._serves is None or run_format.read_trial(run).fidelity in self._serves

    def _held(self) -> Lease:
        """The lease of the open trial; an interrupted one is taken over."""
        self.current()
        return cast(Lease, self._lease)

    def _let_go(self) -> None:
        cast(Lease, self._lease).end()
        self._open = self._lease = self._snapshot = None
