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

from admire_pipeline.credentials import masked
from admire_pipeline.disk import save_atomically
from admire_pipeline.errors import UserError
from admire_pipeline.integrity import DamagedError, check_kept, keep_checksum
from admire_pipeline.tracking.server import impatient
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
        """Take over the interrupted trial; where there is none, None at this worker's turn."""
        return self.store.take_up()


class OpenTrialDataset(CampaignDataset):
    """The trial that this process works on."""

    def load(self) -> Trial:
        """The open trial; an interrupted one is taken over."""
        return self.store.current()

    def save(self, data: Trial | TrialDraft) -> None:
        """Open the MLflow run of a proposal; a trial taken up again has one already.

        It may have been killed before all that it is made from was logged.
        """
        if isinstance(data, TrialDraft):
            self.store.open(data)
        else:
            self.store.log_params(data.provenance)


class ProjectFolderDataset(CampaignDataset):
    """The project's folder, which relative paths of the config start from."""

    def load(self) -> Path:
        """The folder."""
        return self.store.project


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
            for name in metrics.keys() - known.keys():
                known[name] = self.store.last_step(name)
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
                with impatient(self.store.settings.server_timeout):
                    log(metrics, step)
            except (MlflowException, RequestException) as error:
                silent_until = time.monotonic() + SILENCE
                reason = masked(str(error))
                logger.warning("curves from step %d on are not logged: %s", step, reason)

        return try_to_log


class ObservationDataset(CampaignDataset):
    """What the open trial's evaluation found."""

    def save(self, data: Observation) -> None:
        """Log it: the trial counts as observed from here on."""
        self.store.observe(data)

    def load(self) -> list[Trial]:
        """The history with this observation in it."""
        return self.store.trials()


class FinishedStepDataset(CampaignDataset):
    """The end of a step: its report."""

    _report: dict[str, Any]

    def save(self, data: dict[str, Any]) -> None:
        """End the open trial's run FINISHED, now that all that belongs to it is kept."""
        self.store.finish()
        self._report = data

    def load(self) -> dict[str, Any]:
        """The report of the step that this process has finished."""
        return self._report


class WholeFileDataset(AbstractDataset[Any, Any]):
    """A file that is replaced as a whole, whenever the process is killed.

    What this process has saved is what it loads: another worker may have replaced the file since,
    even while it is read.

    Args:
        filepath: The file.
        dataset: Config of the ordinary Kedro dataset that reads and writes it.
    """

    def __init__(self, filepath: str, dataset: dict[str, Any]) -> None:
        self._path = Path(filepath)
        self._config = dataset
        self._saved: Any = None

    def load(self) -> Any:
        """What was saved here, else what the file holds."""
        if self._saved is not None:
            return self._saved
        return _dataset(self._config, self._path).load()

    def save(self, data: Any) -> None:
        """Write the file."""
        _save_whole(self._config, self._path, data)
        self._saved = data

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "dataset": self._config}


class TrialFileDataset(CampaignDataset):
    """A file in the open trial's own folder, kept as an artifact of its run too.

    Args:
        name: Name of the file. (A key `filename` would not do: Kedro takes it for a path within
            the project.)
        dataset: Config of the ordinary Kedro dataset that reads and writes it.
        optional: Write no file where there is nothing to write.
    """

    def __init__(self, name: str, dataset: dict[str, Any], optional: bool = False) -> None:
        if Path(name).name != name or name in ("", ".."):
            raise DatasetError(f"name: {name!r} is not allowed; allowed: a file's name, no path")
        self._name = name
        self._config = dataset
        self._optional = optional

    def load(self) -> Any:
        """Read the trial's file; one that is damaged or not here is fetched from its run."""
        path = self._path
        try:
            check_kept(path)
        except DamagedError as damage:
            name = self.store.current().name
            if path.exists():
                logger.warning("%s: %s; its copy in MLflow is used", name, damage)
            if not self.store.fetch_artifact(path):
                raise UserError(
                    f"{name}: {damage}; run the stage that makes it first, or "
                    "`kedro run --pipelines=admire_step`"
                ) from None
            keep_checksum(path)
        return _dataset(self._config, path).load()

    def save(self, data: Any) -> None:
        """Write the trial's file and log it to its run."""
        if self._optional and not data:
            return
        self.store.check_lease()  # a folder may be shared with whoever has taken the trial over
        path = self._path
        _save_whole(self._config, path, data)
        keep_checksum(path)
        self.store.log_artifact(path)

    def _exists(self) -> bool:
        # Without an open trial there is no file, and asking must not take one over.
        return self.store.at_work is not None and self._path.exists()

    @property
    def _path(self) -> Path:
        return self.store.folder(self.store.current()) / self._name

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "dataset": self._config}


def _dataset(config: dict[str, Any], path: Path) -> AbstractDataset[Any, Any]:
    return AbstractDataset.from_config(path.name, {**config, "filepath": str(path)})


def _save_whole(config: dict[str, Any], path: Path, data: Any) -> None:
    save_atomically(path, lambda aside: _dataset(config, aside).save(data))
