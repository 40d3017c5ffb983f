"""`kedro run` with errors of one line, and `kedro admire`: many steps, the UI."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS, _split_params, env_option

from admire_pipeline.cli_errors import one_line_errors
from admire_pipeline.credentials import masked
from admire_pipeline.errors import UserError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from admire_pipeline.tracking.store import CampaignStore

params_option = click.option(
    "--params", default="", callback=_split_params, help="As for `kedro run`."
)
verbose_option = click.option(
    "--verbose", "-v", is_flag=True, help="Show the traceback of an error and debug logging."
)


@click.group(context_settings=CONTEXT_SETTINGS, name="admire-pipeline")
def cli() -> None:
    """The project's commands."""


@cli.command("run", params=[*kedro_run.params], help=kedro_run.help)
@verbose_option
def run(verbose: bool, **arguments: Any) -> None:
    """Run a pipeline; a whole step ends by printing its trial."""
    option = "--pipelines"
    if arguments["pipeline"] and not arguments["pipelines"]:
        # Both spellings are ours to support; kedro warns at length of the older one.
        option = "--pipeline"
        arguments["pipelines"] = [arguments.pop("pipeline")]
        arguments["pipeline"] = None
    with one_line_errors(verbose):
        _check_nodes(option, arguments)
        outputs = kedro_run.callback(**arguments)  # type: ignore[misc]
        if "finished_step" in outputs:
            _print_report(outputs["finished_step"])
        if "benchmark_report" in outputs:
            _print_benchmark(outputs["benchmark_report"].load())


@cli.group()
def admire() -> None:
    """Campaigns: run many steps, look at their trials."""


@admire.command("run")
@click.option("--steps", type=click.IntRange(min=1), help="Steps to run.")
@click.option("--budget", type=float, help="Run until the campaign has spent this much.")
@params_option
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
    with one_line_errors(verbose):
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
@params_option
@env_option
@verbose_option
def report(params: dict[str, Any], env: str | None, verbose: bool) -> None:
    """What the campaign recommends and has spent, from its history alone; no compute."""
    with one_line_errors(verbose):
        from kedro.io import AbstractDataset
        from kedro.utils import find_kedro_project

        from admire_pipeline.configuration import check_configuration
        from admire_pipeline.pipelines.report import report_campaign
        from admire_pipeline.reporting.console import print_recommendation
        from admire_pipeline.tracking.store import CampaignStore

        project = find_kedro_project(Path.cwd())
        parameters, catalog = _read_config(project, env, params)
        config = check_configuration(parameters, catalog.get("corpus"), offline=True)
        store = CampaignStore(config.campaign, project, {"campaign": {}}, begins=False)
        made = report_campaign(
            store.trials(),
            project,
            config.corpus,
            config.campaign,
            config.search,
            config.fidelities,
            config.evaluation,
            config.objective,
        )
        entry = catalog["recommendation"]
        absolute = {**entry, "filepath": str(project / entry["filepath"])}
        AbstractDataset.from_config("recommendation", absolute).save(made["recommendation"])
        uri = masked(store.client.tracking_uri)
        print_recommendation(made, uri, _console())
        click.echo(f"kept    {entry['filepath']}")


@admire.command()
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True)
@params_option
@env_option
@verbose_option
def ui(port: int, params: dict[str, Any], env: str | None, verbose: bool) -> None:
    """Open the MLflow UI on the campaign's store, on this machine only."""
    with one_line_errors(verbose):
        store = _campaign_store(env, params, begins=True)  # benchmarks may be all there is to see
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
@click.option(
    "--gpu",
    default="h100",
    show_default=True,
    help="What trials are to run on.",
)
@click.option(
    "--example-tokens",
    type=click.IntRange(min=1),
    help="Mean tokens of an example, where examples are counted.  [default: a whole sequence]",
)
@params_option
@env_option
@verbose_option
def plan(
    gpu: str, example_tokens: int | None, params: dict[str, Any], env: str | None, verbose: bool
) -> None:
    """What the campaign takes, and what of it is missing here; no network, no compute."""
    with one_line_errors(verbose):
        from huggingface_hub import get_token
        from kedro.utils import find_kedro_project

        from admire_pipeline.configuration import check_configuration
        from admire_pipeline.reporting.plan import print_plan
        from admire_pipeline.training.plan import make_plan
        from admire_pipeline.training.work import GPUS

        if gpu not in GPUS:
            raise UserError(f"--gpu: unknown {gpu!r}; {suggest(gpu, GPUS)}")
        project = find_kedro_project(Path.cwd())
        parameters, catalog = _read_config(project, env, params)
        corpus = catalog.get("corpus")
        config = check_configuration(parameters, corpus, offline=True)
        folder = project / corpus["filepath"]
        made = make_plan(
            config.fidelities,
            config.corpus,
            config.evaluation,
            folder,
            project,
            GPUS[gpu],
            example_tokens,
        )
        token = get_token() is not None
        print_plan(made, config.campaign.budget, token, _console())


@admire.command("export-runs")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, .csv or .parquet; data/08_reporting/runs.parquet where not given.",
)
@params_option
@env_option
@verbose_option
def export_runs(out: Path | None, params: dict[str, Any], env: str | None, verbose: bool) -> None:
    """Write the campaign's evaluated trials as a run table."""
    with one_line_errors(verbose):
        from admire_pipeline.reporting.run_table import RUNS_FILE, tabulate_runs, write_runs

        store = _campaign_store(env, params)
        path = out or store.project / RUNS_FILE
        search = _config_loader(store.project, env, params)["parameters"].get("search")
        known = search.get("warm_start") if isinstance(search, Mapping) else None
        if known and (store.project / Path(known).expanduser()).resolve() == path.resolve():
            raise UserError(
                f"--out: {str(path)!r} is the campaign's search.warm_start, whose runs would be "
                "lost; allowed: another file"
            )
        runs = tabulate_runs(store.trials(), store.settings.name)
        write_runs(runs, path)
        click.echo(f"{len(runs)} runs of campaign {store.settings.name!r} in {path}")


@admire.command()
@click.option("--table", help="pile, tulu, made-up-<kind>, or a .csv or .parquet file.  [required]")
@click.option("--policies", help="Names, as in a,b.  [default: all]")
@click.option("--objectives", help="Names, as in x,y.  [default: all of the table]")
@click.option("--seeds", help="Seeds, as in 0-4 or 1,3.  [default: 0-4]")
@click.option("--budget", type=float, help="Of a campaign, in target trainings.  [default: 15]")
@click.option("--problem", help="pool (the runs) or simulator (fitted to them).  [default: pool]")
@click.option("--direction", help="Of a file's metrics: maximize, minimize.  [default: maximize]")
@click.option("--out", help="Folder.  [default: data/08_reporting/benchmark/<table>-<problem>]")
@click.option("--processes", type=int, help="At once.  [default: one for each core]")
@click.option(
    "--quick", is_flag=True, default=None, help="A first look, too small to conclude from."
)
@params_option
@env_option
@verbose_option
def benchmark(params: dict[str, Any], env: str | None, verbose: bool, **given: Any) -> None:
    """Compare policies on finished runs; a killed benchmark goes on where it was."""
    chosen = {key: value for key, value in given.items() if value is not None}
    for key in ("out", "table"):
        # As seen from the current folder, which may be one within the project.
        if chosen.get(key) and (key == "out" or Path(chosen[key]).suffix):
            chosen[key] = str(Path(chosen[key]).absolute())
    section = params.get("benchmark", {})
    if not isinstance(section, Mapping):
        raise click.UsageError(f"--params benchmark={section}: give benchmark.<key>=<value>")
    with one_line_errors(verbose):
        params = {**params, "benchmark": {**section, **chosen}}
        if "table" not in params["benchmark"]:
            # The full benchmark of the configured one takes hours: not for a forgotten option.
            raise UserError(
                "--table is missing; allowed: pile, tulu, a made-up one, or a .csv or .parquet file"
            )
        report = _run_pipeline("benchmark", env, params)["benchmark_report"]
        _print_benchmark(report.load())


@admire.command()
@params_option
@env_option
@verbose_option
def abandon(params: dict[str, Any], env: str | None, verbose: bool) -> None:
    """Give up the interrupted trial: it ends FAILED and keeps its cost."""
    with one_line_errors(verbose):
        store = _campaign_store(env, params)
        trial = store.current()
        store.fail("abandoned by the user")
        click.echo(f"{trial.name} is given up")


def _run_step(env: str | None, params: dict[str, Any]) -> Any:
    return _run_pipeline("admire_step", env, params)["finished_step"]


def _run_pipeline(name: str, env: str | None, params: dict[str, Any]) -> dict[str, Any]:
    from kedro.framework.project import settings

    with settings.SESSION_CLASS.create(env=env, runtime_params=params) as session:
        outputs: dict[str, Any] = session.run(pipeline_names=[name])
        return outputs


def _check_nodes(option: str, arguments: Mapping[str, Any]) -> None:
    """Check the names of pipelines, nodes, tags and datasets before anything is loaded."""
    from kedro.framework.project import pipelines
    from kedro.pipeline import Pipeline

    names = arguments["pipelines"] or ["__default__"]
    for name in names:
        if name not in pipelines:
            raise UserError(f"{option}: unknown {name!r}; {suggest(name, pipelines)}")
    try:
        chosen = sum((pipelines[name] for name in names), Pipeline([])).filter(
            tags=arguments["tags"],
            from_nodes=arguments["from_nodes"],
            to_nodes=arguments["to_nodes"],
            node_names=arguments["node_names"],
            from_inputs=arguments["from_inputs"],
            to_outputs=arguments["to_outputs"],
            node_namespaces=arguments["namespaces"],
        )
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None
    for dataset, node in (
        ("recipes", "hash_recipes"),
        ("warm_start", "read_warm_start"),
        ("space", "prepare_space"),
    ):
        if dataset in chosen.inputs():
            raise UserError(f"--nodes: those chosen need {node!r} too; allowed: whole stages")
    runner = arguments["runner"]
    if runner and not runner.endswith("SequentialRunner"):
        raise UserError(
            f"--runner: {runner!r} would work on one trial in several places; "
            "allowed: SequentialRunner"
        )


def _print_report(report: Any) -> None:
    from admire_pipeline.reporting.console import print_report

    print_report(report.load(), masked(report.store.client.tracking_uri), _console())


def _print_benchmark(report: Mapping[str, Any]) -> None:
    from admire_pipeline.reporting.benchmark_console import print_benchmark

    print_benchmark(report["folder"], report["seeds"], _console())
    if failures := report["failures"]:
        raise UserError(
            f"{len(failures)} of {report['campaigns']} campaigns failed ({failures[0]}); "
            "the same command tries these again"
        )


def _console() -> Console:
    from rich.console import Console

    # A name may look like rich's markup.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 120  # rich takes a file for a narrow terminal
    return console


def _config_loader(project: Path, env: str | None, params: Mapping[str, Any]) -> Any:
    from kedro.framework.project import settings

    return settings.CONFIG_LOADER_CLASS(
        str(project / settings.CONF_SOURCE),
        env=env or os.environ.get("KEDRO_ENV"),
        runtime_params=dict(params),
        **settings.CONFIG_LOADER_ARGS,
    )


def _read_config(project: Path, env: str | None, params: Mapping[str, Any]) -> tuple[Any, Any]:
    """Parameters and catalog, as configured; the credentials' token is taken in."""
    from admire_pipeline.hooks import take_in_token

    loader = _config_loader(project, env, params)
    take_in_token(loader)
    try:
        return loader["parameters"], loader["catalog"]
    except Exception as error:  # Kedro and OmegaConf raise whatever they meet
        raise UserError(f"conf: {error}") from error


def _campaign_store(
    env: str | None, params: Mapping[str, Any], *, begins: bool = False
) -> CampaignStore:
    """The store alone: a fault elsewhere in the config must not hide the trials."""
    from kedro.utils import find_kedro_project

    from admire_pipeline.tracking import CampaignSettings
    from admire_pipeline.tracking.store import CampaignStore
    from admire_pipeline.validation import validate_settings

    project = find_kedro_project(Path.cwd())
    campaign = _config_loader(project, env, params)["parameters"].get("campaign")
    checked = validate_settings(CampaignSettings, campaign, "campaign")
    return CampaignStore(checked, project, {"campaign": {}}, begins=begins)
