"""A tracking server that goes away in mid-step: nothing that was paid for is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.conftest import Project


class Server:
    """A real MLflow server on loopback."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        folder.mkdir()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline and self._process.poll() is None
                time.sleep(0.3)

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_result_waits_on_disk_until_the_server_is_back(
    project: Project,
    server: Server,
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
    server.stop()
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
