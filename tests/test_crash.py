"""`kill -9` at any moment, then the same command: the trial is finished, whole, in its own run."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Project

STEP = ("run", "--pipelines=admire_step")


def wait_for(condition: Callable[[], bool], process: object, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def trial_folders(project: Project) -> list[Path]:
    return list((project.folder / "data" / "06_models" / "trials").glob("*"))


def mlflow_client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.folder}/data/mlflow/mlflow.db")


def there(project: Project, pattern: str) -> Callable[[], bool]:
    return lambda: any(any(folder.glob(pattern)) for folder in trial_folders(project))


# What is on disk when the process is killed.
MOMENTS = {
    "proposed": "trial.json",
    "mixed": "mixing_plan.json",
    "training": "checkpoints/checkpoint-*/complete",
    "trained": "model/training_run.json",
    "evaluated": "score.json",
}


@pytest.fixture
def slow_training(project: Project) -> Project:
    """Some seconds of training at every fidelity, so that there is a moment to kill it in."""
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.tokens", 262144)
    return project


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_trial_is_finished_in_its_own_run(
    slow_training: Project, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    project = slow_training
    process = project.start(*STEP)
    wait_for(there(project, MOMENTS[moment]), process)
    process.kill()
    process.wait()
    (left,) = project.runs()
    assert left.info.status == "RUNNING"

    result = project.kedro(*STEP)

    assert result.exit_code == 0, result.output
    (run,) = project.runs()
    assert run.info.run_id == left.info.run_id
    assert run.info.status == "FINISHED"
    # Same mixture, same everything; only what is found in the end is new.
    assert left.data.params.items() <= run.data.params.items()
    folder = project.folder / "data" / "06_models" / "trials" / run.info.run_id
    proposed = json.loads((folder / "trial.json").read_text())["mixture"]
    mixture = {k: v for k, v in run.data.params.items() if k.startswith("mixture.")}
    assert mixture == {f"mixture.{domain}": repr(w) for domain, w in proposed.items()}
    kept = [file.path for file in mlflow_client(project).list_artifacts(run.info.run_id)]
    assert "step_report.json" in kept
    if moment in ("trained", "evaluated"):
        assert "training was finished before" in caplog.text
    if moment == "training":
        assert "resuming from checkpoint-" in caplog.text


@pytest.mark.slow
def test_killed_between_score_and_recommendation(project: Project) -> None:
    """The longest part of the last stage; the trial is observed, and only its report is missing."""
    for stage in ("proposal", "data_mixing", "fine_tuning", "evaluation"):
        assert project.kedro("run", f"--pipelines={stage}").exit_code == 0
    process = project.start(*STEP)
    wait_for(lambda: "score" in project.runs()[0].data.metrics, process)
    process.kill()
    process.wait()
    (left,) = project.runs()
    assert left.info.status == "RUNNING"
    result = project.kedro(*STEP)
    assert result.exit_code == 0, result.output
    run, after = project.runs()
    assert (run.info.run_id, run.info.status) == (left.info.run_id, "FINISHED")
    assert run.data.metrics["score"] == left.data.metrics["score"]
    assert after.info.status == "FINISHED", "the step goes on with the next trial"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_a_resumable_trial(slow_training: Project, number: int) -> None:
    project = slow_training
    process = project.start("admire", "run", "--steps", "2")
    wait_for(there(project, "checkpoints/checkpoint-*"), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in output, output
    assert "trial-001-small: interrupted; the same command finishes it" in output
    (run,) = project.runs()
    assert run.info.status == "KILLED" and run.data.tags["admire.resumable"] == "true"
    result = project.kedro(*STEP)
    assert result.exit_code == 0, result.output
    assert [run.info.status for run in project.runs()] == ["FINISHED"]
