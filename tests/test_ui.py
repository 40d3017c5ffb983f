"""`make ui`: MLflow's UI on the campaign's store, on loopback only."""

from __future__ import annotations

import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

import psutil
import pytest

from tests.conftest import ROOT, Project
from tests.sockets import listening


@pytest.mark.slow
def test_ui_listens_on_loopback_and_prints_its_link(project: Project) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = project.start("admire", "ui", "--port", str(port))
    try:
        assert process.stdout is not None
        link = process.stdout.readline()
        assert re.fullmatch(
            rf"http://127\.0\.0\.1:{port}/#/experiments/\d+/runs\?workflowType=machine_learning\n",
            link,
        ), link
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.5)
        assert listening(process.pid) == {"127.0.0.1"}
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def test_nothing_is_told_to_listen_elsewhere() -> None:
    """By docs or files of containers; ruff (S104) reads the code.

    tests/test_containers.py has what the containers publish.
    """
    # Those of text: whatever else is tracked (figures, Parquet) tells nobody to listen.
    texts = ["git", "-C", str(ROOT), "grep", "--no-color", "-I", "-l", "", "--", ":!*.py"]
    listed = subprocess.run(texts, check=True, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.splitlines()]
    asked = re.compile(r"--(?:host|bind|listen[a-z_-]*)[= \"',]+([0-9a-zA-Z.:\[\]*]+)")
    hosts = {
        (path.name, host)
        for path in files
        for host in asked.findall(path.read_text(encoding="utf-8"))
    }
    elsewhere = {(name, host) for name, host in hosts if host not in ("127.0.0.1", "localhost")}
    assert elsewhere == {("compose.yaml", "0.0.0.0")}  # noqa: S104
    assert hosts > elsewhere
