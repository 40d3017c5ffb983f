"""Ties a Kedro run to its campaign: checks the config, binds the store, ends or releases trials."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from admire_pipeline.credentials import masked
from admire_pipeline.errors import CampaignOver, TrialError, UserError, find_cause
from admire_pipeline.interrupts import stop_if_asked
from admire_pipeline.session import pipelines_asked_for

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)

CORPUS = "corpus"
"""Catalog entry with the campaign's domains."""

BENCHMARK_STORE = "benchmark_store"
"""Catalog entry of where benchmarks are logged."""

FIDELITIES = "params:fidelities"
"""Catalog entry of the ladder."""

BENCHMARK = "benchmark"
"""Pipeline that has no campaign: it needs no corpus, and no trial is opened or touched."""


class CampaignHooks:
    """One store per session: `after_context_created` starts a new one."""

    def __init__(self) -> None:
        self._store: Any = None
        self._benchmarks: Any = None
        self._target = ""
        self._name = ""
        self._mark = 0.0
        self._seconds: dict[str, float] = {}
        self._last = ("", 0.0)

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check the whole config before anything runs; for a benchmark alone, its own part."""
        from admire_pipeline.configuration import check_benchmark, check_configuration
        from admire_pipeline.tracking.benchmark import BenchmarkStore
        from admire_pipeline.tracking.store import CampaignStore
        from admire_pipeline.training.command import check_config_file

        self._store = self._benchmarks = None
        take_in_token(context.config_loader)
        asked_for = set(pipelines_asked_for())
        if asked_for == {BENCHMARK}:
            try:
                parameters = context.config_loader["parameters"]
            except Exception as error:
                raise UserError(f"conf: {error}") from error
            check_benchmark(parameters)
            campaign = parameters.get("campaign")
            self._benchmarks = BenchmarkStore(campaign, context.project_path)
            return
        if BENCHMARK in asked_for:
            raise UserError(f"--pipelines: {BENCHMARK!r} runs alone; allowed: one run for each")
        try:
            entry = context.config_loader["catalog"].get(CORPUS)
            parameters = context.config_loader["parameters"]
        except Exception as error:
            # Broken YAML, an environment that is not there, a file that is a list: kedro and
            # OmegaConf raise whatever they meet.
            raise UserError(f"conf: {error}") from error
        if isinstance(parameters, dict) and CORPUS in parameters:
            raise UserError(f"{CORPUS}: it is no parameter; allowed: an entry of catalog.yml")
        config = check_configuration(parameters, entry)
        for name, fidelity in config.fidelities.root.items():
            check_config_file(fidelity, context.project_path, f"fidelities.{name}")
        resolved = config.model_dump(
            mode="json", exclude={"campaign": {"tracking_uri", "server_timeout"}}
        )
        self._store = CampaignStore(
            config.campaign, context.project_path, resolved, config.worker.fidelities
        )
        self._target = list(config.fidelities.root)[-1]

    @hook_impl
    def after_catalog_created(self, catalog: Any, conf_catalog: dict[str, Any]) -> None:
        """Give the catalog's datasets the campaign's store and the project's folder."""
        from kedro.io import DatasetError

        if self._benchmarks is not None:
            catalog.get(BENCHMARK_STORE).bind(self._benchmarks)
            return
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
                if name != CORPUS:
                    raise UserError(
                        f"catalog.{name}: a second corpus; allowed: one, by the name {CORPUS!r}"
                    )
                dataset.look_in(self._store.project)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: Any) -> None:
        """Reach the tracking server before any compute is spent, and settle what is trained."""
        runner = run_params["runner"]
        if any(name in str(runner) for name in ("ParallelRunner", "ThreadRunner")):
            raise UserError(
                f"--runner: {runner} would work on one trial in several places; "
                "allowed: SequentialRunner"
            )
        if self._benchmarks is not None:
            self._benchmarks.connect()
            return
        _ = self._store.client
        self._pin_models(catalog)
        self._name = self._store.settings.name
        self._mark = time.monotonic()
        self._seconds = {}

    def _pin_models(self, catalog: Any) -> None:
        """From here on every stage sees each Hub checkpoint at one commit."""
        from admire_pipeline.tracking import TrialStatus
        from admire_pipeline.training.provenance import follow_hub, pin_models

        if not follow_hub(fidelities := catalog.load(FIDELITIES)):
            return
        known = [
            (trial.fidelity, trial.provenance)
            for trial in self._store.trials()
            if trial.status is not TrialStatus.FAILED
        ]
        catalog.save(FIDELITIES, pin_models(fidelities, known))

    @hook_impl
    def after_dataset_saved(self, node: Node) -> None:
        """Log what the node took with its loading and saving, in seconds, once there is a trial."""
        stop_if_asked()
        if self._store is None:
            return
        seconds = time.monotonic() - self._mark
        self._mark += seconds
        # A node may save several datasets, one after the other.
        last, before = self._last
        total = seconds + (before if last == node.name else 0.0)
        self._last = (node.name, total)
        self._seconds[f"seconds.{node.name}"] = total
        if (trial := self._store.at_work) is not None:
            self._name = trial.name
            self._store.log_metrics(self._seconds)
            self._seconds = {}
        logger.info("%s: %s %.1f s", self._name, node.name, total)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Leave a trial that waits for its next stage to whoever runs that; tidy up the disk."""
        if self._store is not None:
            self._store.release(interrupted=False)
            self._store.give_up_turn()
            self._remove_weights()

    @hook_impl
    def on_pipeline_error(self, error: BaseException) -> None:
        """Fail the trial, or keep it resumable where it is not to blame."""
        if self._store is None or find_cause(error, CampaignOver) is not None:
            return
        from admire_pipeline.tracking.lease import LostLease
        from admire_pipeline.tracking.server import impatient

        trial = self._store.at_work
        try:
            with impatient(self._store.settings.server_timeout):
                if trial is None:
                    self._store.give_up_turn()
                elif self._is_to_blame(error):
                    self._store.fail(f"{type(error).__name__}: {error}")
                else:
                    self._store.release(interrupted=True)
                    logger.info("%s: interrupted; the same command finishes it", trial.name)
        except LostLease as lost:
            logger.warning("%s: another worker has taken it over", self._name)
            if find_cause(error, OSError) is not None:
                # Who shares the trial's folder has removed there what he needed no more.
                raise lost from error
        except Exception:
            # The server is away. The run stays RUNNING, but no store works on it any more.
            logger.warning(
                "%s: the server does not know that it was interrupted; the same command finishes "
                "it all the same",
                self._name,
            )

    def _remove_weights(self) -> None:
        """Give up the weights that `campaign.keep_weights` does not keep.

        Here and not in a node, since the trial of the step must have ended before.
        """
        from mlflow.exceptions import MlflowException

        from admire_pipeline.tracking.server import impatient
        from admire_pipeline.tracking.weights import unneeded_weights
        from admire_pipeline.training.weights import remove_weights

        campaign = self._store.settings
        try:
            with impatient(campaign.server_timeout):
                trials = unneeded_weights(self._store, self._target)
            freed = sum(remove_weights(self._store.folder(trial)) for trial in trials)
        except (MlflowException, OSError) as error:  # a disk, or the server; the step is done
            reason = masked(str(error))
            logger.warning("weights are removed after the next step only: %s", reason)
            return
        if freed:
            kept = campaign.keep_weights
            logger.info("%.1f MB of weights removed (campaign.keep_weights: %s)", freed / 1e6, kept)

    @staticmethod
    def _is_to_blame(error: BaseException) -> bool:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        if find_cause(error, TrialError) is not None:
            return True
        # OSError: a full disk or a lost share; the last checkpoint is as good as before.
        blameless = (KeyboardInterrupt, UserError, MlflowException, RequestException, OSError)
        return all(find_cause(error, kind) is None for kind in blameless)


def take_in_token(loader: Any) -> None:
    """Mask the logs, and take the Hub's token from `conf/local` or the environment's folder."""
    from admire_pipeline.credentials import export_token, forget_login, mask_logs

    mask_logs()
    forget_login()
    # Kedro itself reads `conf/local`, the one folder that git ignores, only without `--env`.
    local = type(loader)(loader.conf_source, env="local", base_env=loader.base_env)
    export_token(_read_credentials(local) | _read_credentials(loader))


def _read_credentials(loader: Any) -> dict[str, Any]:
    from kedro.config import MissingConfigException

    try:
        return dict(loader["credentials"])
    except MissingConfigException:
        return {}
    except Exception as error:
        # Without the cause: a parser may quote the line that it does not understand.
        raise UserError(
            f"credentials: cannot be read ({type(error).__name__}); "
            "allowed: YAML such as huggingface: {token: <text>}"
        ) from None
