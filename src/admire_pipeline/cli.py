"""`kedro run` with errors of one line, and `kedro admire`: many steps, the UI."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS, _split_params, env_option

from admire_pipeline.errors import CampaignOver, UserError, find_cause, suggest

if TYPE_CHECKING:
    from admire_pipeline.tracking.store import CampaignStore

verbose_option = click.option(
    "--verbose", "-v", is_flag=True, help="Show the traceback of an error and debug logging."
)


@click.group(context_settings=CONTEXT_SETTINGS, name="admire-pipeline")
def cli() -> None:
    """The project's commands."""


@contextmanager
def _one_line_errors(verbose: bool) -> Iterator[None]:
    """Show what a user can put right as one line; anything else keeps its traceback."""
    if verbose:
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger("admire_pipeline").setLevel(logging.DEBUG)
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException(
            "interrupted; the same command finishes the open trial"
        ) from None
    except Exception as error:
        if (over := find_cause(error, CampaignOver)) is not None:
            click.echo(over)
            return
        known = find_cause(error, UserError) or _tracking_error(error)
        if known is None or verbose:
            raise
        raise click.ClickException(" ".join(str(known).split())) from None


@cli.command("run", params=[*kedro_run.params], help=kedro_run.help)
@verbose_option
def run(verbose: bool, **arguments: Any) -> None:
    """Run a pipeline; a whole step ends by printing its trial."""
    if arguments["pipeline"] and not arguments["pipelines"]:
        # Both spellings are ours to support; kedro warns at length of the older one.
        arguments["pipelines"] = [arguments.pop("pipeline")]
        arguments["pipeline"] = None
    with _one_line_errors(verbose):
        _check_pipelines(arguments["pipelines"])
        outputs = kedro_run.callback(**arguments)  # type: ignore[misc]
        if "step_report" in outputs:
            _print_report(outputs["step_report"])


@cli.group()
def admire() -> None:
    """Campaigns: run many steps, look at their trials."""


@admire.command("run")
@click.option("--steps", type=click.IntRange(min=1), help="Steps to run.")
@click.option("--budget", type=float, help="Run until the campaign has spent this much.")
@click.option("--params", default="", callback=_split_params, help="As for `kedro run`.")
@env_option
@verbose_option
def run_steps(
    steps: int | None, budget: float | None, params: dict[str, Any], env: str | None, verbose: bool
) -> None:
    """Run steps in one process until so many are done or the budget is spent."""
    if (steps is None) == (budget is None):
        raise click.UsageError("give exactly one of --steps and --budget")
    from admire_pipeline.reporting.console import progress_line

    if budget is not None:
        campaign = params.get("campaign", {})
        if not isinstance(campaign, Mapping):
            raise click.UsageError(f"--params campaign={campaign}: give campaign.<key>=<value>")
        params = {**params, "campaign": {**campaign, "budget": budget}}
    report = None
    done = 0
    with _one_line_errors(verbose):
        try:
            while steps is None or done < steps:
                report = _run_step(env, params)
                done += 1
                of = f"/{steps}" if steps else ""
                click.echo(f"step {done}{of}  {progress_line(report.load())}")
        finally:
            if report is not None:
                _print_report(report)


@admire.command()
@click.option("--port", type=int, default=5000, show_default=True)
@env_option
@verbose_option
def ui(port: int, env: str | None, verbose: bool) -> None:
    """Open the MLflow UI on the campaign's store, on this machine only."""
    with _one_line_errors(verbose):
        store = _campaign_store(env)
        uri, experiment = store.client.tracking_uri, store.experiment
    remote = uri.startswith(("http://", "https://"))
    server = uri.rstrip("/") if remote else f"http://127.0.0.1:{port}"
    # Without the workflow a fresh browser opens MLflow's view for GenAI, which shows no runs.
    click.echo(f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning")
    if remote:
        return
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    environment = {
        **os.environ,
        # By environment: a database's password must not show in the list of processes.
        "MLFLOW_BACKEND_STORE_URI": uri,
        # The job runner triples the server's start-up time and is of no use here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    # Replaced, not started as a child: what stops this command stops the server.
    os.execve(sys.executable, command, environment)  # noqa: S606


@admire.command()
@env_option
@verbose_option
def abandon(env: str | None, verbose: bool) -> None:
    """Give up the interrupted trial: it ends FAILED and keeps its cost."""
    with _one_line_errors(verbose):
        store = _campaign_store(env)
        trial = store.current()
        store.fail("abandoned by the user")
        click.echo(f"{trial.name} is given up")


def _run_step(env: str | None, params: dict[str, Any]) -> Any:
    from kedro.framework.project import settings

    with settings.SESSION_CLASS.create(env=env, runtime_params=params) as session:
        return session.run(pipeline_names=["admire_step"])["step_report"]


def _tracking_error(error: Exception) -> UserError | None:
    """What to say when the tracking server went away in mid-step."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    for kind in (MlflowException, RequestException):
        if (cause := find_cause(error, kind)) is not None:
            line = (str(cause).splitlines() or [""])[0]
            return UserError(f"tracking server: {line}; the same command finishes the open trial")
    return None


def _check_pipelines(names: Sequence[str]) -> None:
    from kedro.framework.project import pipelines

    for name in names:
        if name not in pipelines:
            raise UserError(f"--pipelines: unknown {name!r}; {suggest(name, pipelines)}")


def _print_report(report: Any) -> None:
    from rich.console import Console

    from admire_pipeline.reporting.console import print_report
    from admire_pipeline.tracking.server import without_secrets

    print_report(report.load(), without_secrets(report.store.client.tracking_uri), Console())


def _campaign_store(env: str | None) -> CampaignStore:
    from kedro.framework.project import settings

    from admire_pipeline.tracking.store import CampaignStore

    with settings.SESSION_CLASS.create(env=env) as session:
        context = session.load_context()
        parameters = context.params
        return CampaignStore(parameters["campaign"], context.project_path, {"campaign": {}})
