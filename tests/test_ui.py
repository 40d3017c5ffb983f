"""`make ui`: MLflow's UI on the campaign's store, on loopback only."""

from __future__ import annotations

import re
import socket
import time
import urllib.error
import urllib.request

import psutil
import pytest

from tests.conftest import Project
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
