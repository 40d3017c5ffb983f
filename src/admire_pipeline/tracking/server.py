"""The MLflow store of a campaign: where it is, whether it answers, its experiment."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from admire_pipeline.errors import UserError
from admire_pipeline.tracking.settings import CampaignSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE_FOLDER = Path("data/mlflow")
"""Within the project: the SQLite store and the artifacts, unless a tracking server is named."""


def resolve_tracking_uri(settings: CampaignSettings, project: Path) -> str:
    """The campaign's tracking URI: configured, from the environment, or SQLite in the project."""
    configured = settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    # `sqlite:///name` would be relative to the current folder: the default names the whole path.
    return configured or f"sqlite:///{(project / STORE_FOLDER / 'mlflow.db').resolve()}"


def connect(settings: CampaignSettings, project: Path) -> tuple[MlflowClient, str]:
    """A client of the tracking store and the id of the campaign's experiment.

    Raises:
        UserError: If the store does not answer within `server_timeout` seconds, or the experiment
            was deleted.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    uri = resolve_tracking_uri(settings, project)
    remote = uri.startswith(("http://", "https://", "databricks"))
    folder = project / STORE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Two processes that create the tables of a new SQLite file at once break it.
        with FileLock(folder / ".lock"), _impatient(settings.server_timeout):
            _create_database(uri)
            client = MlflowClient(uri)
            experiment = client.get_experiment_by_name(settings.name)
            if experiment is None:
                # Without a server the client writes artifacts itself, by default to ./mlruns.
                location = None if remote else (folder / "artifacts").resolve().as_uri()
                return client, str(client.create_experiment(settings.name, location))
    except Exception as error:
        raise UserError(
            f"campaign.tracking_uri: cannot use {without_secrets(uri)!r} "
            f"({_root_cause(error)}); allowed: a reachable MLflow server or database"
        ) from error
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"campaign.name: {settings.name!r} is a deleted MLflow experiment; "
            "allowed: a new name, or restore it with `mlflow experiments restore`"
        )
    return client, str(experiment.experiment_id)


@contextmanager
def _impatient(timeout: float) -> Iterator[None]:
    # MLflow's default is 7 retries of 120 s: right during a trial, wrong before one.
    patience = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout))),
    }
    before = {key: os.environ.get(key) for key in patience}
    os.environ.update(patience)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def without_secrets(uri: str) -> str:
    """The URI without user and password."""
    return re.sub(r"(?<=://)[^/?#]*@", "", uri)


def _create_database(uri: str) -> None:
    """Create a SQLite file with MLflow's tables, whole or not at all.

    MLflow takes a second and some hundred statements for it; killed in between, it would leave a
    file that neither it nor a later MLflow can use.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    from mlflow import MlflowClient

    aside = path.with_name(f"{path.name}.new")
    for part in path.parent.glob(f"{aside.name}*"):
        part.unlink()
    client = MlflowClient(f"sqlite:///{aside}")
    client.search_experiments(max_results=1)
    client._tracking_client.store.engine.dispose()
    aside.rename(path)


def _root_cause(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
