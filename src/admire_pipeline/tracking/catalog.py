"""The campaign's trials as Kedro datasets.

The project hook binds them to the campaign's store (`bind`) once the config is checked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from admire_pipeline.errors import UserError
from admire_pipeline.tracking.store import CampaignStore
from admire_pipeline.tracking.trial import Observation, Trial, TrialDraft

logger = logging.getLogger(__name__)

SILENCE = 60.0
"""Seconds without points on the curves after the tracking server did not answer."""


class CampaignDataset(AbstractDataset[Any, Any]):
    """A dataset that lives in the campaign's store."""

    _bound: CampaignStore | None = None

    def bind(self, store: CampaignStore) -> None:
        """Use this store from here on."""
        self._bound = store

    @property
    def store(self) -> CampaignStore:
        """The campaign's store."""
        if self._bound is None:
            raise DatasetError(f"{type(self).__name__} is bound to a campaign only in a Kedro run")
        return self._bound

    def _describe(self) -> dict[str, Any]:
        return {}

    def save(self, data: Any) -> None:
        """Not possible unless a subclass says how."""
        raise DatasetError(f"{type(self).__name__} is read-only")


class TrialsDataset(CampaignDataset):
    """The history: every trial of the campaign, oldest first."""

    def load(self) -> list[Trial]:
        """Read the trials from MLflow."""
        return self.store.trials()


class InterruptedTrialDataset(CampaignDataset):
    """A trial that was begun and not finished."""

    def load(self) -> Trial | None:
        """Take over the interrupted trial; None where there is none."""
        return self.store.claim()


class OpenTrialDataset(CampaignDataset):
    """The trial that this process works on."""

    def load(self) -> Trial:
        """The open trial; an interrupted one is taken over."""
        return self.store.current()

    def save(self, data: Trial | TrialDraft) -> None:
        """Open the MLflow run of a proposal; a trial taken up again has one already."""
        if isinstance(data, TrialDraft):
            self.store.open(data)


class TrialFolderDataset(CampaignDataset):
    """The open trial's own folder, for checkpoints and the model."""

    def load(self) -> Path:
        """The folder; it exists."""
        return self.store.folder(self.store.current())


class CurvesDataset(CampaignDataset):
    """The open trial's curves."""

    def load(self) -> Callable[[Mapping[str, float], int], None]:
        """A function that logs metrics at an optimizer step.

        Steps that were logged before an interruption and are trained again are left out: they
        would stand twice in the curve.
        """
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        known: dict[str, int] = {}

        def log(metrics: Mapping[str, float], step: int) -> None:
            for name in metrics:
                known.setdefault(name, self.store.last_step(name))
            fresh = {name: value for name, value in metrics.items() if step > known[name]}
            if fresh:
                self.store.log_metrics(fresh, step)

        silent_until = 0.0

        def try_to_log(metrics: Mapping[str, float], step: int) -> None:
            # A curve is not worth a training: while the server is away, points are left out, and
            # its time-out is not waited for at every one.
            nonlocal silent_until
            if time.monotonic() < silent_until:
                return
            try:
                log(metrics, step)
            except (MlflowException, RequestException) as error:
                silent_until = time.monotonic() + SILENCE
                logger.warning("curves from step %d on are not logged: %s", step, error)

        return try_to_log


class ObservationDataset(CampaignDataset):
    """The end of the open trial."""

    def save(self, data: Observation) -> None:
        """Log what was observed and end the run FINISHED."""
        self.store.log_params(data.params)
        self.store.finish(data.metrics)

    def load(self) -> list[Trial]:
        """The history with this observation in it."""
        return self.store.trials()


class FinishedTrialDataset(CampaignDataset):
    """The trial whose files are at hand: the one just finished."""

    def load(self) -> Trial:
        """The trial that this process finished last, else the open one."""
        return self.store.subject


class TrialFileDataset(CampaignDataset):
    """A file in the open trial's own folder, kept as an artifact of its run too.

    Args:
        name: Name of the file. (A key `filename` would not do: Kedro takes it for a path within
            the project.)
        dataset: Config of the ordinary Kedro dataset that reads and writes it.
    """

    def __init__(self, name: str, dataset: dict[str, Any]) -> None:
        self._name = name
        self._config = dataset

    def load(self) -> Any:
        """Read the trial's file; one written on another machine is fetched from its run."""
        path = self._path
        if not path.exists() and not self.store.fetch_artifact(path):
            raise UserError(
                f"{self.store.subject.name}: {self._name} is not there yet; run the stage that "
                "makes it first, or `kedro run --pipelines=admire_step`"
            )
        return self._dataset(path).load()

    def save(self, data: Any) -> None:
        """Write the trial's file and log it to its run."""
        # Written aside and renamed: a kill in between leaves no half-written file to read.
        aside = self._path.with_name(f".{self._name}")
        self._dataset(aside).save(data)
        aside.replace(self._path)
        self.store.log_artifact(self._path)

    def _exists(self) -> bool:
        return self._path.exists()

    @property
    def _path(self) -> Path:
        return self.store.folder(self.store.subject) / self._name

    def _dataset(self, path: Path) -> AbstractDataset[Any, Any]:
        return AbstractDataset.from_config(self._name, {**self._config, "filepath": str(path)})

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "dataset": self._config}
