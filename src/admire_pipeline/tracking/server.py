"""The MLflow store of a campaign: where it is, whether it answers, its experiment."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from admire_pipeline.credentials import export_login, masked
from admire_pipeline.errors import UserError, suggest_nearest
from admire_pipeline.tracking.settings import CampaignSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

logger = logging.getLogger(__name__)

SQLITE = "sqlite:///"
STORE_FOLDER = Path("data/mlflow")
"""Within the project: the SQLite store and the artifacts, unless a tracking server is named."""

PAUSE = 0.5
"""Seconds between two tries to reach a tracking server."""

_T = TypeVar("_T")

Begin = Callable[["MlflowClient", str | None], Mapping[str, str]]
"""Takes a client, and where artifacts are kept (None where the server says); gives tags."""


def resolve_tracking_uri(settings: CampaignSettings, project: Path) -> str:
    """The campaign's tracking URI: configured, from the environment, or SQLite in the project."""
    default = f"{SQLITE}{STORE_FOLDER / 'mlflow.db'}"
    uri = settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default
    if not uri.startswith(SQLITE):
        return export_login(uri)
    # MLflow would take `sqlite:///name` as relative to the current folder.
    return f"{SQLITE}{(project / uri.removeprefix(SQLITE)).resolve()}"


def commit_tag(project: Path) -> dict[str, str]:
    """The tag that says from which git commit a run came; none outside a repository."""
    from mlflow.utils.git_utils import get_git_commit

    # Under `kedro run` MLflow does not set it.
    commit = get_git_commit(str(project))
    return {"mlflow.source.git.commit": commit} if commit else {}


def connect(
    settings: CampaignSettings,
    project: Path,
    begin: Begin | None = None,
    *,
    create: bool = True,
) -> tuple[MlflowClient, Experiment]:
    """A client of the tracking store and the campaign's experiment.

    Args:
        settings: The campaign.
        project: Root folder of the project.
        begin: Gives the tags of an experiment that is new. They are part of it from the first, and
            MLflow lets only one of several workers make it.
        create: Make the experiment where there is none.

    Raises:
        UserError: If the store does not answer within `server_timeout` seconds, or the experiment
            was deleted or is not there.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    uri = resolve_tracking_uri(settings, project)
    remote = uri.startswith(("http://", "https://", "databricks"))
    folder = project / STORE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Two processes that make the tables of a new database at once break it.
        alone = nullcontext() if remote else FileLock(folder / ".lock")
        with alone:
            if uri.startswith(SQLITE):
                create_database(Path(uri.removeprefix(SQLITE)))
            elif not remote and re.match(r"(postgresql|mysql|mssql|sqlite)\b", uri):
                _reach_database(uri, settings.server_timeout)
            client = MlflowClient(uri)
            # Without a server the client writes artifacts itself, by default to ./mlruns.
            location = None if remote else (folder / "artifacts").resolve().as_uri()

            def find() -> Experiment | None:
                found = client.get_experiment_by_name(settings.name)
                if found or not create:
                    return found
                return _create(client, settings.name, location, begin)

            experiment = _wait_for(find, settings.server_timeout if remote else 0.0)
            with impatient(settings.server_timeout):
                others = [] if experiment else [e.name for e in client.search_experiments()]
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"campaign.tracking_uri: cannot use {masked(uri)!r} "
            f"({root_cause(error)}); allowed: a reachable MLflow server or "
            "database"
        ) from error
    if experiment is None:
        raise UserError(
            f"campaign.name: no campaign {settings.name!r} has begun in {masked(uri)!r}; "
            f"{suggest_nearest(settings.name, others)}allowed: one of which a step was run"
        )
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"campaign.name: {settings.name!r} is a deleted MLflow experiment; "
            "allowed: a new name, or restore it with `mlflow experiments restore`"
        )
    return client, experiment


def _create(
    client: MlflowClient,
    name: str,
    location: str | None,
    begin: Begin | None,
) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        made = client.create_experiment(
            name, location, dict(begin(client, location)) if begin else {}
        )
    except MlflowException:
        if (experiment := client.get_experiment_by_name(name)) is None:
            raise
        return experiment  # another worker was faster
    return client.get_experiment(made)


def _wait_for(ask: Callable[[], _T], timeout: float) -> _T:
    """Ask a tracking server until it answers, for so many seconds, and once at least.

    Left to its own patience, MLflow waits for minutes; with none, a restart of the server or one
    error of a busy one would end the step.
    """
    from mlflow.exceptions import MlflowException

    deadline = time.monotonic() + timeout
    waiting = False
    while True:
        try:
            with impatient(deadline - time.monotonic()):
                return ask()
        except MlflowException as error:
            # A refusal has another code: it stays one.
            if error.error_code != "INTERNAL_ERROR" or time.monotonic() + PAUSE > deadline:
                raise
        if not waiting:
            logger.info("waiting for the tracking server")
            waiting = True
        time.sleep(PAUSE)


@contextmanager
def impatient(timeout: float) -> Iterator[None]:
    """Wait for a tracking server no longer than `timeout` seconds.

    MLflow's own patience, minutes of retries, is right for a result and wrong before any compute,
    for a point of a curve and after Ctrl-C.
    """
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


def _reach_database(uri: str, timeout: float) -> None:
    """Connect once; MLflow itself would try for minutes, and log each of its attempts."""
    from sqlalchemy import create_engine

    answers: Queue[Exception | None] = Queue()

    def connect_once() -> None:
        try:
            engine = create_engine(uri)
            engine.connect().close()
            engine.dispose()
            answers.put(None)
        except Exception as error:
            answers.put(error)

    # In a thread: the time a driver waits for a silent host is set differently in each of them.
    # A daemon: the process must not wait for it at its end.
    Thread(target=connect_once, daemon=True).start()
    try:
        error = answers.get(timeout=timeout)
    except Empty:
        raise TimeoutError(f"no answer within {timeout:g} s") from None
    if error is not None:
        raise error


def create_database(path: Path) -> None:
    """Create a SQLite file with MLflow's tables, whole or not at all.

    MLflow takes a second and some hundred statements for it; killed in between, it would leave a
    file that neither it nor a later MLflow can use.
    """
    if path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    for part in path.parent.glob(f"{aside.name}*"):
        part.unlink()
    aside.touch()  # fails at once where the database cannot be made
    client = MlflowClient(f"{SQLITE}{aside}")
    client.search_experiments(max_results=1)
    client._tracking_client.store.engine.dispose()
    aside.rename(path)


def root_cause(error: BaseException) -> str:
    """What an error comes from, in one line without secrets."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    line = masked(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return line[:200]
