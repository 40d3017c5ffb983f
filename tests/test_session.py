"""How a session runs its pipelines."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from admire_pipeline.session import rare_full_collections

PROGRAM = """
import atexit, gc
from admire_pipeline.session import leave_garbage_at_exit
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))  # the last one is called first
leave_garbage_at_exit()
"""


@pytest.mark.skipif(gc.get_threshold()[2] == 0, reason="this Python collects a little at a time")
def test_garbage_is_collected_as_before_once_a_run_is_over() -> None:
    before = gc.get_threshold()
    with rare_full_collections():
        assert gc.get_threshold() == (*before[:2], 1000)
    assert gc.get_threshold() == before


def test_what_was_imported_is_not_looked_through_as_python_ends() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
