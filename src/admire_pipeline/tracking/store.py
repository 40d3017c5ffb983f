"""A campaign's trials in MLflow: open, claim, log, observe, finish, fail, release."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from admire_pipeline.disk import write_atomically
from admire_pipeline.errors import UserError
from admire_pipeline.process import is_gone, name_process
from admire_pipeline.tracking import history
from admire_pipeline.tracking.heartbeat import Heartbeat
from admire_pipeline.tracking.server import STORE_FOLDER, commit_tag, connect, without_secrets
from admire_pipeline.tracking.settings import CampaignSettings
from admire_pipeline.tracking.trial import Observation, Trial, TrialDraft

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

TRIALS_FOLDER = Path("data/06_models/trials")
"""Within the project: one folder per trial, named by its run id."""
CONFIG_HASH = "admire.config_hash"
BATCH = 100
"""Parameters that MLflow takes in one call."""
AT_WORK: set[str] = set()
"""Runs that some store of this process works on."""


class CampaignStore:
    """The trials of one campaign, and the one that this process works on.

    Args:
        settings: The campaign.
        project: Root folder of the project.
        config: The whole resolved config; its hash and text are kept with each trial.
    """

    def __init__(
        self, settings: CampaignSettings, project: Path, config: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self.project = project
        self._config = dict(config)
        # How much a campaign may spend does not change what a trial is.
        campaign = {k: v for k, v in config["campaign"].items() if k != "budget"}
        text = json.dumps(self._config | {"campaign": campaign}, sort_keys=True)
        self._config_hash = hashlib.sha256(text.encode()).hexdigest()
        self._open: Trial | None = None
        self._heartbeat: Heartbeat | None = None

    @cached_property
    def _connection(self) -> tuple[MlflowClient, str]:
        return connect(self.settings, self.project)

    @property
    def client(self) -> MlflowClient:
        """The MLflow client; the first use connects (raises UserError)."""
        return self._connection[0]

    @property
    def experiment(self) -> str:
        """MLflow's id of the campaign's experiment."""
        return self._connection[1]

    def folder(self, trial: Trial) -> Path:
        """The trial's own folder."""
        return self.project / TRIALS_FOLDER / trial.run_id

    def trials(self) -> list[Trial]:
        """Every trial of the campaign, oldest first."""
        return [history.read_trial(r) for r in history.search_runs(self.client, self.experiment)]

    def open(self, draft: TrialDraft) -> Trial:
        """Open the MLflow run of a proposal; this process works on it from here on.

        Raises:
            UserError: If the proposal does not fit into a tag (some hundred domains).
        """
        proposal = history.proposal_tag(draft)
        if len(proposal) > history.TAG_LIMIT:
            raise UserError(
                f"corpus.domains: {len(draft.mixture)} domains make a proposal of {len(proposal)} "
                f"characters; allowed: {history.TAG_LIMIT}, use fewer domains or shorter names"
            )
        number = len(history.search_runs(self.client, self.experiment)) + 1
        tags = {
            history.PROPOSAL: proposal,
            history.OWNER: name_process(),
            history.HEARTBEAT: f"{time.time():.0f}",
            "admire.based_on": history.lineage_tag(draft.based_on),
            CONFIG_HASH: self._config_hash,
            "admire.policy": draft.policy,
            "admire.phase": draft.phase,
            "mlflow.source.name": "kedro",
        }
        if draft.acquisition_value is not None:
            tags["admire.acquisition_value"] = repr(draft.acquisition_value)
        tags |= commit_tag(self.project)
        run = self.client.create_run(
            self.experiment, tags=tags, run_name=f"trial-{number:03d}-{draft.fidelity}"
        )
        return self._take(run, draft.provenance)

    def claim(self) -> Trial | None:
        """The trial that this process works on, else an interrupted one, taken over; else None."""
        if self._open is not None:
            return self._open
        with FileLock(self.project / STORE_FOLDER / ".claim.lock"):
            run = self._find_interrupted()
            if run is None:
                return None
            self.client.set_tag(run.info.run_id, history.HEARTBEAT, f"{time.time():.0f}")
            self.client.set_tag(run.info.run_id, history.OWNER, name_process())
            if run.info.status != "RUNNING":
                self.client.update_run(run.info.run_id, status="RUNNING")
        trial = self._take(run)
        logger.info("%s: taking it up again", trial.name)
        return trial

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

        now = int(time.time() * 1000)
        entities = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self.client.log_batch(self.current().run_id, metrics=entities, synchronous=True)

    def last_step(self, metric: str) -> int:
        """Largest step at which the open trial has logged `metric`; -1 where it has none."""
        points = self.client.get_metric_history(self.current().run_id, metric)
        return max((point.step for point in points), default=-1)

    def log_artifact(self, path: Path) -> None:
        """Keep a file with the trial's run."""
        self.client.log_artifact(self.current().run_id, str(path))

    def fetch_artifact(self, path: Path) -> bool:
        """Bring a file of the trial's run to `path`, whole; whether there was one."""
        run_id = self.current().run_id
        if path.name not in [file.path for file in self.client.list_artifacts(run_id)]:
            return False
        with TemporaryDirectory(dir=path.parent) as aside:
            self.client.download_artifacts(run_id, path.name, aside)
            (Path(aside) / path.name).replace(path)
        return True

    def observe(self, observation: Observation) -> None:
        """Log what the open trial's evaluation found; it counts as observed from here on."""
        self.log_params(observation.params)
        self.log_metrics(observation.metrics)

    def finish(self) -> None:
        """End the open trial FINISHED."""
        self._end("FINISHED", {})

    def fail(self, reason: str) -> None:
        """End the open trial FAILED; its cost stays, since it has been paid.

        One that has been evaluated ends FINISHED, with the reason: its score is as good as any.
        """
        if self._open is None:
            return
        if history.is_scored(self.client.get_run(self._open.run_id)):
            status = "FINISHED"
        else:
            status = "FAILED"
            self.log_metrics({"cost": self._open.cost})
        self._end(status, {history.REASON: without_secrets(reason)[: history.TAG_LIMIT]})

    def release(self, *, interrupted: bool) -> None:
        """Leave the open trial for a later process to finish.

        Args:
            interrupted: Ends it KILLED and resumable; else SCHEDULED, waiting for its next stage.
        """
        if self._open is not None:
            self._end("KILLED" if interrupted else "SCHEDULED", {history.RESUMABLE: "true"})

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        trial = self.current()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        # Whether or not the server hears of it, this process is through with the trial.
        self._open = self._heartbeat = None
        AT_WORK.discard(trial.run_id)
        for key, value in tags.items():
            self.client.set_tag(trial.run_id, key, value)
        if status == "SCHEDULED":
            self.client.update_run(trial.run_id, status=status)
        else:
            self.client.set_terminated(trial.run_id, status)

    def _take(self, run: Run, provenance: Mapping[str, str] | None = None) -> Trial:
        trial = history.read_trial(run)
        trial = replace(trial, provenance={**trial.provenance, **(provenance or {})})
        self._open = trial
        AT_WORK.add(trial.run_id)
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
        if run.data.tags[CONFIG_HASH] == self._config_hash:
            self.client.log_dict(trial.run_id, self._config, "config.yaml")
        write_atomically(self.folder(trial) / "trial.json", trial.to_json())
        self._heartbeat = Heartbeat(self._beat, self.settings.heartbeat_timeout / 10)
        return trial

    def _beat(self) -> None:
        if (trial := self._open) is not None:
            self.client.set_tag(trial.run_id, history.HEARTBEAT, f"{time.time():.0f}")

    def _find_interrupted(self) -> Run | None:
        for status in ("RUNNING", "KILLED", "SCHEDULED"):
            condition = f"attributes.status = '{status}'"
            for run in history.search_runs(self.client, self.experiment, condition):
                if history.is_resumable(run) and self._is_abandoned(run):
                    return run
        return None

    def _is_abandoned(self, run: Run) -> bool:
        if run.info.status != "RUNNING":
            return True
        tags: dict[str, Any] = run.data.tags
        owner = tags.get(history.OWNER, "")
        if owner == name_process():
            # Ended here while the server was away, so that the run was left RUNNING.
            return run.info.run_id not in AT_WORK
        gone = is_gone(owner)
        if gone is not None:
            return gone
        silent = time.time() - float(tags.get(history.HEARTBEAT, -math.inf))
        return silent > self.settings.heartbeat_timeout
