"""Workers of one campaign, each a `kedro` process of its own."""

from __future__ import annotations

import re
import signal
import time

import pytest

from admire_pipeline.tracking import lease
from tests.conftest import Project
from tests.test_crash import mlflow_client, there, wait_for

STEP = ("run", "--pipelines=admire_step")


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


@pytest.mark.slow
def test_a_suspended_worker_leaves_its_trial_to_its_successor(project: Project) -> None:
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.tokens", 262144)
    project.set("parameters.yml", "campaign.heartbeat_timeout", 5)
    suspended = project.start(*STEP)
    wait_for(there(project, "checkpoints/checkpoint-*/complete"), suspended)
    suspended.send_signal(signal.SIGSTOP)
    (run,) = project.runs()
    # As if on another machine: on this one its process can be seen to live.
    mlflow_client(project).set_tag(run.info.run_id, lease.OWNER, "a laptop|1|0")
    time.sleep(6)

    successor = project.kedro(*STEP)

    assert successor.exit_code == 0, successor.output
    (finished,) = project.runs()
    assert (finished.info.run_id, finished.info.status) == (run.info.run_id, "FINISHED")
    suspended.send_signal(signal.SIGCONT)
    output, _ = suspended.communicate(timeout=120)
    assert suspended.returncode == 1
    assert "another worker has taken it over" in output, output
    assert "another one has taken the trial over" in output and "Traceback" not in output, output
    (after,) = project.runs()
    assert after.info.status == "FINISHED"
    assert after.data.metrics["score"] == finished.data.metrics["score"]
    assert after.info.end_time == finished.info.end_time
