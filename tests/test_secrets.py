"""Secrets of the environment show nowhere: in no output, command line, file, run or artifact."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.conftest import Project
from tests.servers import MlflowServer, Postgres

USER = "planted-user"
SECRETS = {
    name: f"PLANTED-{name}"
    for name in ("HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD")
}
IN_THE_URI = "PLANTED-uri"
IN_GIT = "PLANTED-git"
STEP = ("run", "--pipelines=admire_step")


def shown(data: bytes) -> set[str]:
    """The planted secrets that stand in there, as they are or as a login is sent."""
    secrets = {*SECRETS.values(), IN_THE_URI, IN_GIT}
    sent = {secret: base64.b64encode(f"{USER}:{secret}".encode()) for secret in secrets}
    return {secret for secret in secrets if secret.encode() in data or sent[secret] in data}


def holding(folder: Path) -> dict[Path, set[str]]:
    """Files in which a secret stands, but for git's own, where one was written."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(files) > 10
    return {path: found for path in files if (found := shown(path.read_bytes()))}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def command_lines(process: subprocess.Popen[str]) -> list[str]:
    """Of a process and all that it has started, as everyone on the machine can see them."""
    ours = psutil.Process(process.pid)
    return [" ".join(member.cmdline()) for member in [ours, *ours.children(recursive=True)]]


def run(project: Project, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a command that shows no secret, nor do those that it starts."""
    process = project.start(*arguments)
    lines: set[str] = set()

    def watch() -> None:
        while process.poll() is None:
            with suppress(psutil.Error):  # one has just ended
                lines.update(command_lines(process))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()  # where it has hung
        watcher.join()
    assert shown(output.encode()) == set(), output
    assert shown("\n".join(lines).encode()) == set()
    assert any("admire" in line or "kedro" in line for line in lines)
    return process.returncode, output


def make_repository(folder: Path) -> None:
    """A git repository whose remote's URL holds a token, as CI makes them."""
    remote = f"https://x-access-token:{IN_GIT}@example.org/team/campaign.git"
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    for command in (
        ("init", "-q"),
        ("remote", "add", "origin", remote),
        ("add", "conf"),
        (*who, "commit", "-q", "-m", "the campaign's config"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True, env={**os.environ, "HOME": "/"})


@pytest.mark.slow
def test_a_campaign_on_a_server(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(project.folder)
    # Whoever a trial starts must be told nothing by its command line.
    project.set("parameters.yml", "fidelities.small.launch.processes", 2)
    with MlflowServer(tmp_path / "server") as server:
        login = server.uri.replace("://", f"://{USER}:{IN_THE_URI}@")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", login)
        status, output = run(project, *STEP, "--verbose")
        assert status == 0, output
        status, link = run(project, "admire", "ui")
        assert status == 0 and link.startswith(f"{server.uri}/#/experiments/"), link

        project.set("parameters.yml", "campaign.name", "diverging")
        project.set("parameters.yml", "fidelities.small.training.learning_rate", 1e30)
        status, output = run(project, *STEP)
        assert status == 1 and "Error: " in output, output

        import mlflow

        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        client = mlflow.MlflowClient(server.uri)
        everything = [e.experiment_id for e in client.search_experiments()]
        runs = list(client.search_runs(everything))
        assert {run.info.status for run in runs} >= {"FINISHED", "FAILED"}
        assert any("mlflow.source.git.commit" in run.data.tags for run in runs)
        assert shown(str([run.to_dictionary() for run in runs]).encode()) == set()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", login)
    status, output = run(project, *STEP, "--verbose")
    assert status == 1 and "campaign.tracking_uri: cannot use" in output, output
    # Its database and artifacts, the project, what was logged and cached.
    assert holding(tmp_path) == {}


@pytest.mark.slow
def test_a_campaign_in_a_database(
    project: Project, postgres: Postgres, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = postgres_database.partition(":")[2].partition(":")[2].partition("@")[0]
    monkeypatch.setitem(SECRETS, "the database's", password)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_database)
    status, output = run(project, *STEP, "--verbose")
    assert status == 0, output
    assert "--backend-store-uri postgresql://127.0.0.1" in output

    ui = project.start("admire", "ui", "--port", "0")
    try:
        assert ui.stdout is not None and shown(ui.stdout.readline().encode()) == set()
        deadline = time.monotonic() + 90
        while len(lines := command_lines(ui)) < 2:
            assert time.monotonic() < deadline and ui.poll() is None
            time.sleep(0.1)
        assert "mlflow" in lines[0] and shown("\n".join(lines).encode()) == set()
    finally:
        for member in psutil.Process(ui.pid).children(recursive=True):
            member.kill()
        ui.kill()
        ui.wait()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_database.replace(password, IN_THE_URI))
    status, output = run(project, *STEP, "--verbose")
    assert status == 1 and "password authentication failed" in output, output
    assert holding(project.folder) == {}


@contextmanager
def quoting_server() -> Iterator[str]:
    """URI of a server that refuses every request, and quotes what it was sent."""

    class Quoting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"who is {self.headers['Authorization']}".encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quoting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.slow
def test_a_server_that_quotes_what_it_is_sent(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quoting_server() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        status, output = run(project, *STEP, "--verbose")
        assert status == 1 and output.count("who is Basic ***") > 1, output
        login = uri.replace("://", f"://{USER}:{IN_THE_URI}@")
        project.set("parameters.yml", "campaign.tracking_uri", login)
        status, output = run(project, *STEP)
        assert status == 1 and output.count("who is Basic ***") == 1, output
