"""Workers of one campaign, each a `kedro` process of its own."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.chaos import Chaos, Fault
from tests.conftest import Project
from tests.histories import runs_of, tally
from tests.proxy import Proxy
from tests.servers import MlflowServer
from tests.test_crash import trial_folders, wait_for

STEP = ("run", "--pipelines=admire_step")
SILENCE = 5
"""Seconds after which a holder counts as silent."""


@pytest.mark.slow
def test_workers_of_different_sizes(project: Project) -> None:
    assert project.kedro("admire", "plan").exit_code == 0  # imports are paid once
    workers = {
        fidelity: project.start(
            "admire", "run", "--steps", "2", "--params", f"worker.fidelities=[{fidelity}]"
        )
        for fidelity in ("nano", "small")
    }
    for fidelity, worker in workers.items():
        output, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0, output
        names = re.findall(r"step \d/2 +trial-\d+-(\w+)", output)
        assert names == [fidelity] * 2, output
    runs = project.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    numbers = sorted(run.info.run_name.split("-")[1] for run in runs)
    assert numbers == ["001", "002", "003", "004"]
    tried = [
        tuple(sorted((k, v) for k, v in run.data.params.items() if k[:7] in ("mixture", "fidelit")))
        for run in runs
    ]
    assert len(set(tried)) == 4, "no mixture twice at one size"


def test_a_worker_refuses_what_it_cannot_do(project: Project) -> None:
    result = project.kedro(*STEP, "--params", "worker.fidelities=[nan]")
    assert result.exit_code == 1
    assert "worker.fidelities: unknown 'nan'; did you mean 'nano'?" in result.output
    project.set("parameters.yml", "search.policy", "random")
    result = project.kedro(*STEP, "--params", "worker.fidelities=[nano]")
    assert result.exit_code == 1
    line = "worker.fidelities: ['nano']: policy 'random' proposes trials at ['small'] alone"
    assert line in result.output, result.output
    assert [run.info.status for run in project.runs()] == ["SCHEDULED"]
    project.set("parameters.yml", "search.policy", "admire")
    assert project.kedro(*STEP, "--params", "worker.fidelities=[nano]").exit_code == 0
    (run,) = project.runs()
    assert (run.info.run_name, run.info.status) == ("trial-001-nano", "FINISHED")


def make_trials_long(project: Project) -> None:
    """Long enough to be taken over; and holders count as silent soon."""
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.tokens", 131072)
    project.set("parameters.yml", "campaign.heartbeat_timeout", SILENCE)
    project.set("parameters.yml", "campaign.budget", 40)
    project.set("parameters.yml", "search.design_trials", 1000)


def check_unchanged(client: MlflowClient, finished: Any, fault: Fault, in_flight: int = 0) -> None:
    """What the former holder did late has changed nothing of its successor's result."""
    after = client.get_run(finished.info.run_id)
    fault.lost += after.data.metrics["score"] != finished.data.metrics["score"]
    fault.lost += after.info.end_time != finished.info.end_time
    tally(client, fault, in_flight=in_flight)
    assert (fault.lost, fault.duplicated) == (0, 0)


@pytest.mark.slow
@pytest.mark.chaos
def test_a_suspended_worker_leaves_its_trial_to_its_successor(
    project: Project, chaos: Chaos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Suspended in its training (in the full form, at a random moment), it comes back later."""
    make_trials_long(project)
    fault = chaos.fault("a worker is suspended, and comes back once another one has its trial")
    chance = random.Random(17)
    # One that is suspended while it writes to SQLite would lock the others out.
    with MlflowServer(tmp_path / "server") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        client = MlflowClient(server.uri)
        for _ in range(8 if chaos.full else 1):
            known = {run.info.run_id for run in runs_of(client)}
            suspended = project.start(*STEP)
            begun = "trial.json" if chaos.full else "checkpoints/*/complete"
            wait_for(lambda: new_folder(project, known, begun), suspended)  # noqa: B023
            time.sleep(chance.uniform(0, 5) if chaos.full else 0)
            suspended.send_signal(signal.SIGSTOP)
            (run,) = (run for run in runs_of(client) if run.info.run_id not in known)
            if run.info.status == "FINISHED":  # it was faster: nothing is left of it to take
                suspended.send_signal(signal.SIGCONT)
                suspended.communicate(timeout=120)
                continue
            time.sleep(SILENCE + 1)  # on this machine its process can be seen, and says nothing

            with fault.recovering():
                successor = project.kedro(*STEP)

            assert successor.exit_code == 0, successor.output
            finished = client.get_run(run.info.run_id)
            assert "lease.1" in finished.data.params
            suspended.send_signal(signal.SIGCONT)
            output, _ = suspended.communicate(timeout=120)
            if "score" not in run.data.metrics:
                assert suspended.returncode == 1
                assert "another worker has taken it over" in output, output
                assert "another one has taken the trial over" in output, output
            assert "Traceback" not in output, output
            check_unchanged(client, finished, fault, in_flight=1)
    assert fault.tries


@pytest.mark.slow
@pytest.mark.chaos
def test_a_worker_that_was_cut_off_changes_nothing_of_its_successors(
    project: Project, chaos: Chaos, tmp_path: Path
) -> None:
    """They are two machines: the successor has a folder of its own, and reaches the server."""
    make_trials_long(project)
    other = Project(Path(shutil.copytree(project.folder, tmp_path / "other")))
    fault = chaos.fault("a worker is cut off from the server until another one has its trial")
    with MlflowServer(tmp_path / "server") as server, Proxy(server.port) as proxy:
        client = MlflowClient(server.uri)
        for _ in range(6 if chaos.full else 1):
            known = {run.info.run_id for run in runs_of(client)}
            cut_off = project.start(
                *STEP, MLFLOW_TRACKING_URI=proxy.uri, MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="1"
            )
            wait_for(lambda: new_folder(project, known, "checkpoints"), cut_off)  # noqa: B023
            proxy.away()

            with fault.recovering():
                successor = other.start(*STEP, MLFLOW_TRACKING_URI=server.uri)
                output, _ = successor.communicate(timeout=240)

            assert successor.returncode == 0, output
            (run,) = (run for run in runs_of(client) if run.info.run_id not in known)
            assert (run.info.status, "lease.1" in run.data.params) == ("FINISHED", True), output
            assert cut_off.poll() is None, cut_off.communicate()
            proxy.back()
            output, _ = cut_off.communicate(timeout=240)
            assert cut_off.returncode == 1, output
            assert "another one has taken the trial over" in output, output
            assert "Traceback" not in output, output
            check_unchanged(client, run, fault)


def new_folder(project: Project, known: Collection[str], pattern: str) -> bool:
    """Whether a trial that is not known has such a file."""
    folders = (folder for folder in trial_folders(project) if folder.name not in known)
    return any(any(folder.glob(pattern)) for folder in folders)
