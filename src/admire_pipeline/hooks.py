"""Ties a Kedro run to its campaign: checks the config, binds the store, ends or releases trials."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from admire_pipeline.errors import CampaignOver, TrialError, UserError, find_cause

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)

CORPUS = "corpus"
"""Catalog entry with the campaign's domains."""


class CampaignHooks:
    """One store per session: `after_context_created` starts a new one."""

    def __init__(self) -> None:
        self._store: Any = None
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check the whole config before anything runs."""
        from admire_pipeline.configuration import check_configuration
        from admire_pipeline.tracking.store import CampaignStore

        try:
            entry = context.config_loader["catalog"].get(CORPUS)
            parameters = context.config_loader["parameters"]
        except Exception as error:
            # Broken YAML, an environment that is not there, a file that is a list: kedro and
            # OmegaConf raise whatever they meet.
            raise UserError(f"conf: {error}") from error
        config = check_configuration(parameters, entry)
        resolved = config.model_dump(
            mode="json", exclude={"campaign": {"tracking_uri", "server_timeout"}}
        )
        self._store = CampaignStore(config.campaign, context.project_path, resolved)
        self._seconds = {}

    @hook_impl
    def after_catalog_created(self, catalog: Any, conf_catalog: dict[str, Any]) -> None:
        """Give the catalog's datasets the campaign's store and the project's folder."""
        from kedro.io import DatasetError

        from admire_pipeline.tracking.catalog import CampaignDataset
        from admire_pipeline.training.catalog import CorpusDataset

        for name in conf_catalog:
            try:
                dataset = catalog.get(name)
            except DatasetError as error:
                raise UserError(f"catalog.{name}: {error}") from error
            if isinstance(dataset, CampaignDataset):
                dataset.bind(self._store)
            elif isinstance(dataset, CorpusDataset):
                dataset.look_in(self._store.project)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Reach the tracking server before any compute is spent."""
        if "ParallelRunner" in str(run_params["runner"]):
            raise UserError(
                "--runner: 'ParallelRunner' would work on one trial in several processes; allowed: "
                "SequentialRunner, ThreadRunner"
            )
        _ = self._store.client

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log what the node took, in seconds, to the trial once there is one."""
        self._seconds[f"seconds.{node.name}"] = time.monotonic() - self._started[node.name]
        trial = self._store.at_work
        logger.info(
            "%s: %s %.1f s",
            trial.name if trial else self._store.settings.name,
            node.name,
            self._seconds[f"seconds.{node.name}"],
        )
        if trial is not None:
            self._store.log_metrics(self._seconds)
            self._seconds = {}

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Leave a trial that waits for its next stage to whoever runs that."""
        self._store.release(interrupted=False)

    @hook_impl
    def on_pipeline_error(self, error: BaseException) -> None:
        """Fail the trial, or keep it resumable where it is not to blame."""
        if find_cause(error, CampaignOver) is not None:
            return
        try:
            if self._is_to_blame(error):
                self._store.fail(f"{type(error).__name__}: {error}")
            else:
                self._store.release(interrupted=True)
        except Exception:
            # The server is away. The run stays RUNNING without a living owner: the next step
            # takes it up again.
            logger.warning("the trial could not be marked; the next step resumes it")

    @staticmethod
    def _is_to_blame(error: BaseException) -> bool:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        if find_cause(error, TrialError) is not None:
            return True
        # OSError: a full disk or a lost share; the last checkpoint is as good as before.
        blameless = (KeyboardInterrupt, UserError, MlflowException, RequestException, OSError)
        return all(find_cause(error, kind) is None for kind in blameless)
