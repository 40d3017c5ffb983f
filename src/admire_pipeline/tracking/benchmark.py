"""Benchmarks in MLflow: an experiment of their own, one run each."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError

from admire_pipeline.tracking.server import commit_tag, connect
from admire_pipeline.tracking.settings import CampaignSettings
from admire_pipeline.validation import validate_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

EXPERIMENT = "benchmark"
"""Name of the MLflow experiment."""

_SHARED = ("tracking_uri", "server_timeout")
"""Keys of the config's `campaign` that say where MLflow is."""

_BATCH = 1000
"""Metrics that MLflow takes at once."""


_FORBIDDEN = re.compile(r"[^\w\-. :]")
"""What MLflow does not take in a metric's name, or (`/`) takes for a path; a policy's name may hold
it, as it may hold a size's."""


class BenchmarkStore:
    """The project's folder, and where benchmarks are logged.

    Attributes:
        project: The project's folder.

    Args:
        campaign: The config's `campaign`: only where MLflow is counts here.
        project: The project's folder.

    Raises:
        UserError: If the config says wrongly where MLflow is.
    """

    def __init__(self, campaign: Any, project: Path) -> None:
        given = campaign if isinstance(campaign, Mapping) else {}
        where = {key: given[key] for key in _SHARED if key in given}
        fixed = {"name": EXPERIMENT, "budget": 1, "seed": 0}
        self._settings = validate_settings(CampaignSettings, {**fixed, **where}, "campaign")
        self.project = project

    def connect(self) -> tuple[MlflowClient, str]:
        """Reach the tracking server: a client, and the id of the experiment.

        Raises:
            UserError: If it does not answer.
        """
        client, experiment = connect(self._settings, self.project)
        return client, str(experiment.experiment_id)

    def log(  # noqa: PLR0913
        self,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Sequence[Path],
        *,
        failed: str = "",
    ) -> str:
        """Log a benchmark as one run.

        Args:
            name: Of the run.
            params: What was benchmarked.
            metrics: What was found; those that are not finite are left out.
            files: Kept as artifacts.
            failed: Why the run ends FAILED; empty where it ends FINISHED.

        Returns:
            The run's id.
        """
        import math
        import time

        from mlflow.entities import Metric, Param

        client, experiment = self.connect()
        tags = commit_tag(self.project)
        run = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        client.log_batch(run, params=[Param(key, str(value)) for key, value in params.items()])
        now = int(time.time() * 1000)
        finite = [
            Metric(_FORBIDDEN.sub("_", key), float(value), now, 0)
            for key, value in metrics.items()
            if math.isfinite(value)
        ]
        for start in range(0, len(finite), _BATCH):
            client.log_batch(run, metrics=finite[start : start + _BATCH])
        for path in files:
            client.log_artifact(run, str(path))
        if failed:
            client.set_tag(run, "admire.reason", failed)
        client.set_terminated(run, "FAILED" if failed else "FINISHED")
        return str(run)


class BenchmarkStoreDataset(AbstractDataset[Any, Any]):
    """The benchmarks' store; the project hook binds it."""

    _bound: BenchmarkStore | None = None

    def bind(self, store: BenchmarkStore) -> None:
        """Use this store from here on."""
        self._bound = store

    def load(self) -> BenchmarkStore:
        """The store."""
        if self._bound is None:
            raise DatasetError("the benchmarks' store is there in `--pipeline=benchmark` alone")
        return self._bound

    def save(self, data: Any) -> None:
        """Not possible."""
        raise DatasetError("the benchmarks' store is read-only")

    def _describe(self) -> dict[str, Any]:
        return {}
