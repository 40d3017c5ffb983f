"""The benchmark of a step's overhead writes MLflow's tables itself: it must follow them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_history_that_was_made_up_is_read_as_one_that_was_not() -> None:
    command = [sys.executable, "benchmarks/overhead.py", "--trials", "3", "--again", "1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        with suppress(ProcessLookupError):  # it has ended, and all that it has started
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    lines = output.splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [["3", "trials"]]
    rows = [
        re.search(r"^  (first|new|again|random) .* overhead +(\d+\.\d+) s", line) for line in lines
    ]
    assert [row[1] for row in rows if row] == ["first", "new", "again", "random"]
    assert all(float(row[2]) > 0 for row in rows if row)
