"""A tracking server that goes away in mid-step: nothing that was paid for is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.conftest import Project
from tests.servers import MlflowServer


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
