"""`kedro admire benchmark` and the pipeline of that name, end to end."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from admire_pipeline.optimizer import Proposal, Space, Trials
from admire_pipeline.replay.baselines import Uniform
from admire_pipeline.replay.jobs import COLUMNS
from admire_pipeline.replay.synthetic import made_up_table
from tests.conftest import Project

SMALL = ("--policies", "random,uniform", "--seeds", "0-1", "--budget", "4", "--processes", "1")


@pytest.fixture
def runs(project: Project) -> Path:
    """A user's run table."""
    path = project.folder / "runs.csv"
    made = made_up_table("transfer", domains=4, runs=(30, 20, 15), metrics=2)
    frame = made.frame.drop(columns="split")
    frame.to_csv(path, index=False)
    frame.to_csv(project.folder / "semicolons.csv", index=False, sep=";")
    largest = frame[frame["fidelity"] == made.fidelities[-1].name]
    largest.to_csv(project.folder / "one.csv", index=False)
    frame.rename(columns={"metric.metric-1": "metric.eval_loss"}).to_csv(
        project.folder / "losses.csv", index=False
    )
    frame.assign(**{"metric.metric-2": 0.1}).to_csv(project.folder / "same.csv", index=False)
    odd = frame.replace({"fidelity": {made.fidelities[0].name: "qwen/tiny (1%)/"}})
    odd.to_csv(project.folder / "odd.csv", index=False)
    return path


def benchmark(project: Project, *options: str) -> str:
    result = project.kedro("admire", "benchmark", *options)
    assert result.exit_code == 0, result.output
    return result.output


def refused(project: Project, *options: str) -> str:
    result = project.kedro("admire", "benchmark", *options)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in result.output
    return line


def folder_of(project: Project, name: str = "runs-pool") -> Path:
    return project.folder / "data" / "08_reporting" / "benchmark" / name


def test_a_file_alone_is_enough(
    project: Project, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = benchmark(project, "--table", "runs.csv", *SMALL)
    folder = folder_of(project)
    curves = pd.read_parquet(folder / "curves.parquet")
    assert list(curves.columns) == list(COLUMNS)
    assert set(curves["objective"]) == {"average", "metric-1", "metric-2"}
    assert set(curves["policy"]) == {"random", "uniform"}
    assert set(curves["seed"]) == {0, 1}
    summary = pd.read_csv(folder / "summary.csv")
    assert set(summary["objective"]) == {"(mean)", "average", "metric-1", "metric-2"}
    names = {path.name for path in folder.glob("*.png")}
    assert names == {"regret.png", "regret_published.png", "regret_by_objective.png"}
    assert "normalised honest regret" in output and "random" in output
    assert "to maximize: 4 domains; 30 of 30 runs of size-1 in the pool" in caplog.text
    # The aims are of other tables.
    assert "aims" not in output


def test_it_is_logged_to_an_experiment_of_its_own(project: Project, runs: Path) -> None:
    benchmark(project, "--table", "runs.csv", *SMALL)
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["table"] == "runs"
    assert run.data.params["policies"] == "random,uniform"
    assert run.data.metrics["area.random"] > 0
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/data/mlflow/mlflow.db")
    assert client.get_experiment(run.info.experiment_id).name == "benchmark"
    assert client.get_experiment_by_name("test") is None
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"curves.parquet", "summary.csv", "regret.png"} <= files


def test_the_pipeline_is_the_same(project: Project, runs: Path) -> None:
    benchmark(project, "--table", "runs.csv", "--objectives", "average", *SMALL)
    params = "benchmark.table=runs.csv,benchmark.budget=4,benchmark.seeds=0-1,benchmark.out=again"
    project_settings = project.folder / "conf" / "test" / "parameters_benchmark.yml"
    project_settings.write_text(
        "benchmark: {table: x, policies: [random, uniform], objectives: [average], processes: 1}"
    )
    result = project.kedro("run", "--pipeline=benchmark", "--params", params)
    assert result.exit_code == 0, result.output
    assert "normalised honest regret" in result.output
    fixed = [name for name in COLUMNS if "seconds" not in name]
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder_of(project) / "curves.parquet")[fixed],
        pd.read_parquet(project.folder / "again" / "curves.parquet")[fixed],
    )


def test_it_needs_no_campaign(project: Project, runs: Path) -> None:
    project.set("parameters.yml", "fidelities", {"nano": "nonsense"})
    project.set("catalog.yml", "corpus.filepath", 7)
    benchmark(project, "--table", "runs.csv", "--objectives", "average", *SMALL)
    # And a campaign is refused as ever.
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1 and "fidelities" in result.output


def test_losses_and_a_folder_of_ones_own(project: Project, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    options = ("--direction", "minimize", "--out", str(out), "--objectives", "metric-1")
    benchmark(project, "--table", str(runs), *options, *SMALL)
    assert (out / "regret.png").exists()
    assert len(list((out / "jobs").glob("*.parquet"))) == 4


def test_an_objective_by_which_nothing_differs_is_left_out(
    project: Project, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    benchmark(project, "--table", "same.csv", *SMALL)
    summary = pd.read_csv(folder_of(project, "same-pool") / "summary.csv")
    assert set(summary["objective"]) == {"(mean)", "average", "metric-1"}
    assert "left out: metric-2, by which all runs of 'size-3' in the pool score" in caplog.text


def test_figures_of_an_earlier_command_do_not_stay(project: Project, runs: Path) -> None:
    folder = folder_of(project)
    for options in (("metric-1,average", True), ("average", False)):
        benchmark(project, "--table", "runs.csv", "--objectives", options[0], *SMALL)
        assert (folder / "regret_by_objective.png").exists() is options[1]


def test_metrics_as_evaluation_harnesses_and_spreadsheets_name_them(
    project: Project, runs: Path
) -> None:
    names = {"metric.metric-1": "metric.arc/acc,none", "metric.metric-2": "metric.NA"}
    pd.read_csv(runs).rename(columns=names).to_csv(project.folder / "named.csv", index=False)
    output = benchmark(project, "--table", "named.csv", "--objectives", "NA,arc/acc,none", *SMALL)
    summary = pd.read_csv(folder_of(project, "named-pool") / "summary.csv", keep_default_na=False)
    assert set(summary["objective"]) == {"(mean)", "NA", "arc/acc,none"}
    output = benchmark(project, "--table", "named.csv", "--objectives", "NA", *SMALL)
    assert "objective NA" in output and "nothing to compare" not in output


def test_a_broken_file_of_a_campaign_counts_as_not_run(
    project: Project, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--table", "runs.csv", "--objectives", "average", *SMALL)
    benchmark(project, *options)
    whole = pd.read_parquet(folder_of(project) / "curves.parquet")
    broken = next((folder_of(project) / "jobs").glob("random.*"))
    broken.write_bytes(b"PAR1")
    benchmark(project, *options)
    assert f"{broken} cannot be read" in caplog.text
    fixed = [name for name in COLUMNS if "seconds" not in name]
    again = pd.read_parquet(folder_of(project) / "curves.parquet")
    pd.testing.assert_frame_equal(whole[fixed], again[fixed])


@pytest.mark.slow
def test_a_size_may_have_any_name(project: Project, runs: Path) -> None:
    options = ("--objectives", "average", *SMALL, "--policies", "zero-shot", "--seeds", "0")
    output = benchmark(project, "--table", "odd.csv", *options)
    assert "zero-shot-qwen/tiny (1%)/" in output
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert "area.zero-shot-qwen_tiny _1___" in run.data.metrics


def test_quick_is_small(project: Project, runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    benchmark(project, "--table", "runs.csv", "--quick", "--policies", "random", "--budget", "0.5")
    curves = pd.read_parquet(folder_of(project, "runs-pool-quick") / "curves.parquet")
    assert curves["objective"].nunique() == 2 and curves["seed"].nunique() == 2
    assert "a budget of 0.5 pays for no training of the target" in caplog.text
    assert project.runs()[0].data.params["max_trials"] == "60"
    assert "budget 0.5, at most 60 trials" in caplog.text


def test_a_smaller_benchmark_takes_nothing_from_the_aims(project: Project, runs: Path) -> None:
    options = ("--table", "made-up-noise", "--budget", "1", "--processes", "1")
    all_of_it = benchmark(project, *options, "--seeds", "0-4", "--policies", "admire,admire-target")
    again = benchmark(
        project, *options, "--seeds", "0-4", "--policies", "random", "--objectives", "average"
    )
    for output in (all_of_it, again):
        noise, _ = [line for line in output.splitlines() if "made up: small" in line]
        assert re.match(r" *(met|not met) ", noise), noise


def test_the_simulator_of_a_file(project: Project, runs: Path) -> None:
    options = ("--problem", "simulator", "--objectives", "metric-1", "--policies", "random")
    benchmark(project, "--table", "runs.csv", *SMALL, *options)
    curves = pd.read_parquet(folder_of(project, "runs-simulator") / "curves.parquet")
    assert set(curves["problem"]) == {"simulator"}
    assert curves["honest"].min() > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "--table is missing; allowed: pile, tulu"),
        (("--table", ""), "benchmark.table: '' is not allowed.*tulu"),
        (
            ("--table", "runs.csv", "--out", "runs.csv/there"),
            "benchmark.out: .*csv' is a file",
        ),
        (("--table", "runs.csv", "--out", ""), "benchmark.out: '' is not allowed"),
        (("--table", "one.csv", "--policies", "zero-shot"), "benchmark.policies: .*has one size"),
        (("--table", "semicolons.csv"), "semicolons.csv: columns are separated by ';'.*commas"),
        (("--table", "tulo"), "benchmark.table: no file .*tulo.*'tulu'"),
        (("--table", "nothing.csv"), "benchmark.table: no file .*nothing.csv"),
        (("--table", "runs.csv", "--policies", "admire-mbo"), "'admire-mbo'.*'admire-mfbo'"),
        (("--table", "runs.csv", "--objectives", "metric-9"), "'metric-9'.*'metric-"),
        (("--table", "runs.csv", "--seeds", "4-0"), "benchmark.seeds: '4-0'.*ascending"),
        (("--table", "runs.csv", "--seeds", f"0-{10**30}"), "benchmark.seeds: .*at most 1000"),
        (("--table", "runs.csv", "--seeds", str(10**30)), "benchmark.seeds.*: .*less than"),
        (("--table", "runs.csv", "--params", "benchmark.budget=true"), "benchmark.budget: True"),
        (("--table", "runs.csv", "--seeds", "a"), "benchmark.seeds: 'a'.*ranges"),
        (("--table", "runs.csv", "--seeds", "\u0663"), "benchmark.seeds: .*ranges"),
        (("--table", "runs.csv", "--params", "benchmark.seeds=true"), "benchmark.seeds: 'True'"),
        (("--table", "runs.csv", "--budget", "0"), "benchmark.budget: 0.*greater than 0"),
        (("--table", "runs.csv", "--problem", "pol"), "benchmark.problem: 'pol'.*'simulator'"),
        (("--table", "runs.csv", "--direction", "up"), "benchmark.direction: 'up'.*'minimize'"),
        (("--table", "made-up-noise", "--direction", "minimize"), "'minim.*allowed: maximize, or"),
        (("--table", "losses.csv"), "direction: not given, and metric.eval_loss .*maximize, minim"),
        (
            ("--table", "runs.csv", "--params", "bechmark.seeds=1"),
            "bechmark: unknown key.*'benchma",
        ),
        (("--table", "runs.csv", "--out", "/proc/mine"), "out: '/proc/mine' cannot be made"),
        (("--table", "runs.csv", "--out", 300 * "x"), "benchmark.out: '.*xxx' cannot be made"),
        (
            ("--table", "same.csv", "--objectives", "metric-2"),
            "'metric-2': all runs of 'size-3' in",
        ),
        (("--table", "runs.csv", "--params", "benchmark.tabel=x"), "tabel: unknown key.*'table'"),
    ],
)
def test_bad_input_is_one_line(
    project: Project, runs: Path, options: tuple[str, ...], expected: str
) -> None:
    line = refused(project, *options)
    assert re.search(expected, line), line
    assert not folder_of(project).exists()


def test_a_benchmark_runs_alone(project: Project) -> None:
    result = project.kedro("run", "--pipelines=benchmark,admire_step")
    assert result.exit_code == 1
    assert "--pipelines: 'benchmark' runs alone" in result.output


def test_a_fault_of_the_benchmark_shows_before_a_campaign(project: Project) -> None:
    path = project.folder / "conf" / "test" / "parameters_benchmark.yml"
    path.write_text("benchmark: {table: tulu, seeds: x}")
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1 and "benchmark.seeds: 'x'" in result.output


def test_campaigns_that_fail_are_told_and_the_others_reported(
    project: Project, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose = Uniform.propose

    def fail(policy: Uniform, space: Space, trials: Trials, seed: int) -> Proposal:
        if list(space.objective) == ["metric-2"]:
            raise ArithmeticError("no way")
        return propose(policy, space, trials, seed)

    monkeypatch.setattr(Uniform, "propose", fail)
    line = refused(project, "--table", "runs.csv", "--objectives", "metric-1,metric-2", *SMALL)
    assert "2 of 8 campaigns failed (uniform, metric-2, seed 0: ArithmeticError: no way" in line
    curves = pd.read_parquet(folder_of(project) / "curves.parquet")
    assert len(curves[["policy", "objective", "seed"]].drop_duplicates()) == 6
    (run,) = project.runs()
    assert run.info.status == "FAILED"


@pytest.fixture
def lacking(runs: Path) -> str:
    """A user's run table whose smallest size lacks a metric."""
    frame = pd.read_csv(runs)
    frame.loc[frame["fidelity"] == "size-1", "metric.metric-2"] = None
    frame.to_csv(runs, index=False)
    return runs.name


@pytest.mark.parametrize(
    ("objectives", "problem", "left"),
    [
        # The first objective, of all metrics, lacks the size too.
        ("average,metric-1", "pool", ["size-2"]),
        ("metric-1", "pool", ["size-1", "size-2"]),
        ("average", "simulator", ["size-1", "size-2"]),
    ],
)
def test_where_a_size_lacks_a_metric_zero_shot_from_it_is_left_out(  # noqa: PLR0913, PLR0917
    project: Project,
    lacking: str,
    objectives: str,
    problem: str,
    left: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = ("--table", lacking, *SMALL, "--problem", problem, "--objectives", objectives)
    options += ("--policies", "random,zero-shot", "--seeds", "0")
    benchmark(project, *options, "--params", "benchmark.max_trials=3")
    summary = pd.read_csv(folder_of(project, f"runs-{problem}") / "summary.csv")
    policies = ["random", *(f"zero-shot-{size}" for size in left)]
    for _, rows in summary.groupby("objective"):
        assert sorted(rows["policy"]) == policies
    told = "left out: zero-shot-size-1, no run for average" in caplog.messages
    assert told == ("size-1" not in left)


def test_policies_of_which_none_can_do_all_objectives_are_refused(
    project: Project, lacking: str
) -> None:
    options = ("--policies", "zero-shot-size-1", "--objectives", "metric-1,metric-2")
    line = refused(project, "--table", lacking, *options)
    assert "benchmark.policies: zero-shot-size-1, no run for metric-2; allowed: " in line


@pytest.mark.slow
def test_a_killed_benchmark_goes_on(project: Project, runs: Path) -> None:
    options = ["--table", "runs.csv", "--policies", "admire-mfbo", "--objectives", "average"]
    options += ["--seeds", "0-7", "--budget", "2", "--processes", "2"]
    process = project.start("admire", "benchmark", *options)
    jobs = folder_of(project) / "jobs"
    deadline = time.monotonic() + 120
    while not (done := list(jobs.glob("[!.]*.parquet"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    time.sleep(1)
    before = {path: path.stat().st_mtime_ns for path in jobs.glob("[!.]*.parquet")}
    assert set(done) <= set(before) and len(before) < 8
    benchmark(project, *options)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(jobs.glob("[!.]*.parquet"))) == 8
