"""The scripts that print seconds do so, on the smallest cases: what they print is not tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def printed(script: str, *options: str) -> list[str]:
    command = [sys.executable, f"benchmarks/{script}", *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_our_policy_on_the_simplex() -> None:
    title, case = printed("optimizer.py", "--threads", "1", "--cases", "20x3x2")
    assert title == "admire, 1 threads"
    assert re.search(r"20x3x2 +propose +\d.*most draws +\d.*recommend +\d.*CPU +\d", case)


@pytest.mark.skipif(
    "ADMIRE_RUNS_DIR" not in os.environ, reason="needs the published tables: set ADMIRE_RUNS_DIR"
)
def test_our_policy_beside_the_published_ones() -> None:
    title, *policies = printed("proposals.py", "--trials", "9", "--policies", "admire,admire-bo")
    assert title.startswith("tulu pool, 9 trials")
    assert [line.split()[0] for line in policies] == ["admire", "admire-bo"]
    assert policies[0].endswith("1.0 x admire")
