"""A tracking server that goes away, fails or loses its answers: nothing is lost, nothing twice."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import mlflow
import pytest

from tests.chaos import Chaos, Fault
from tests.conftest import Project
from tests.proxy import Kind, Proxy
from tests.servers import MlflowServer
from tests.test_by_force import NANO, SMALL, STEP, Workers, check_history, one_more

STAGES = {
    "before the step": "experiments/get-by-name",
    "proposal": "admire.proposal",
    "mixing": "artifacts/mixing_plan.json",
    "training": "train.loss",
    "evaluation": "artifacts/evaluation.json",
    "update": '"key": "score"',
    "end": "admire.given_back",
}
"""What is asked of the server in the midst of each."""

MOMENTS = {
    "turn": '"key": "admire.number"',
    "number": '"key": "trial.',
    **{name: sign for name, sign in STAGES.items() if name != "before the step"},
    "trained": "artifacts/training_run.json",
    "report": "artifacts/step_report.json",
}
"""The same, and more of them."""

TRAINED = re.compile(r"trained \d+ of \d+ parameters")
"""Printed by each training that has come to its end."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path / "server") as server:
        yield server


@pytest.mark.slow
def test_result_waits_on_disk_until_the_server_is_back(
    project: Project,
    server: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    # Some seconds are enough to see that nobody answers.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    for stage in ("proposal", "data_mixing"):
        result = project.kedro("run", f"--pipelines={stage}")
        assert result.exit_code == 0, result.output
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.evaluations", 2)
    process = project.start("run", "--pipelines=fine_tuning")
    folder = project.folder / "data" / "06_models" / "trials"
    deadline = time.monotonic() + 90
    while not list(folder.glob("*/checkpoints")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    server.kill()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "Traceback" not in output, output
    assert list(folder.glob("*/model/training_run.json")), "trained to the end all the same"

    server.start()
    result = project.kedro("run", "--pipelines=admire_step")

    assert result.exit_code == 0, result.output
    assert "training was finished before" in caplog.text
    client = mlflow.MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and "score" in run.data.metrics


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


def count_trainings(printed: list[str], trials: int, fault: Fault) -> None:
    """Each trial is trained to its end once."""
    trained = sum(len(TRAINED.findall(output)) for output in printed)
    fault.duplicated += max(trained - trials, 0)
    fault.lost += max(trials - trained, 0)
    assert (fault.lost, fault.duplicated) == (0, 0)


@pytest.mark.slow
@pytest.mark.chaos
def test_away_in_each_stage(
    project: Project, chaos: Chaos, server: MlflowServer, proxy: Proxy
) -> None:
    """The step waits, and goes on."""
    seconds = 60 if chaos.full else 2
    fault = chaos.fault(f"the tracking server is away for {seconds} s in each stage of a step")
    project.set("parameters.yml", "campaign.server_timeout", seconds + 30)
    # By default it tries again after 0, 4, 8, 16 and so on seconds.
    patience = {} if chaos.full else {"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
    for sign in STAGES.values():
        proxy.away_at(sign, seconds)
    workers = Workers(project, SMALL, MLFLOW_TRACKING_URI=proxy.uri, **patience)
    workers.join(workers.start())
    at_work = [*proxy.gone[1:], time.monotonic()]
    assert len(proxy.returned) == len(STAGES)
    # Until the next stage is reached.
    fault.seconds = [then - back for back, then in zip(proxy.returned, at_work, strict=True)]
    fault.tries = len(STAGES)
    trials = len(check_history(mlflow.MlflowClient(server.uri), workers.printed, 0, fault))
    assert trials == 1
    count_trainings(workers.printed, trials, fault)


@pytest.mark.slow
@pytest.mark.chaos
def test_away_for_longer_than_mlflow_waits(
    project: Project,
    chaos: Chaos,
    server: MlflowServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The step ends with one line; the next one goes on from there."""
    fault = chaos.fault("the tracking server is away for longer than MLflow waits, at each moment")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    project.set("parameters.yml", "campaign.budget", 1000)
    project.set("parameters.yml", "search.design_trials", 1000)
    step = ("admire", "run", "--steps", "1")
    # The request with which it goes away may be the last that is carried out.
    absences = [(m, carried_out) for m in MOMENTS for carried_out in (False, True)]
    printed = []
    for moment, carried_out in absences if chaos.full else absences[::5]:
        proxy.away_at(MOMENTS[moment], carried_out=carried_out)
        result = project.kedro(*step)
        printed.append(result.output)
        assert result.exit_code == 1, (moment, result.output)
        assert "Error: tracking server: " in result.output, (moment, result.output)
        proxy.back()
        with fault.recovering():
            result = project.kedro(*step)
            printed.append(result.output)
            assert result.exit_code == 0, (moment, result.output)
    trials = len(check_history(mlflow.MlflowClient(server.uri), printed, fault.tries, fault))
    count_trainings([caplog.text], trials, fault)


@pytest.mark.slow
@pytest.mark.chaos
def test_requests_fail_or_lose_their_answers(
    project: Project, chaos: Chaos, server: MlflowServer, proxy: Proxy
) -> None:
    """MLflow tries again, but for an answer that was cut off: then the step ends with one line."""
    count, trials = (2, 40) if chaos.full else (1, 4)
    kinds: list[Kind] = [*("500", "502", "reset", "lost") * 3, "cut"]
    fault = chaos.fault("8 % of all requests fail, or lose their answers")
    project.set("parameters.yml", "search.design_trials", 1000)
    budget = 2 * SMALL + (trials - 2) * NANO
    workers = Workers(project, budget, MLFLOW_TRACKING_URI=proxy.uri)
    proxy.be_flaky(0.08, 7, kinds)

    def work(_: int) -> int:
        """Start a worker until the budget is spent; how often it was started again."""
        for restarts in range(1000):
            began = time.monotonic()
            lines: list[str] = []
            worker = workers.start()
            assert worker.stdout is not None
            late = Timer(900, worker.kill)
            late.start()
            for line in worker.stdout:
                if restarts and not STEP.search("".join(lines)) and STEP.search(line):
                    fault.seconds.append(time.monotonic() - began)
                lines.append(line)
            late.cancel()
            output = "".join(lines)
            workers.printed.append(output)
            assert "Traceback" not in output, output
            if worker.wait() == 0:
                assert "its budget is spent" in output, output
                return restarts
            assert re.search(r"^Error: (tracking server|campaign.tracking_uri): ", output, re.M)
        raise AssertionError("it does not come to an end")

    with ThreadPoolExecutor(count) as pool:
        restarts = sum(pool.map(work, range(count)))
    fault.tries = sum(proxy.faults.values())
    assert fault.tries > 10 * trials / 4
    client = mlflow.MlflowClient(server.uri)
    printed = workers.printed + one_more(project, client, MLFLOW_TRACKING_URI=server.uri)
    made = len(check_history(client, printed, restarts, fault))
    assert trials < made <= trials + count
    count_trainings(printed, made, fault)
