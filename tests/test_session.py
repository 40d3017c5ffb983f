"""How a session runs its pipelines."""

from __future__ import annotations

import gc
import subprocess
import sys

from admire_pipeline.session import rare_full_collections

PROGRAM = """
import atexit, gc
from admire_pipeline.session import rare_full_collections
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))  # the last one is called first
with rare_full_collections():
    pass
"""


def test_garbage_is_collected_as_before_once_a_run_is_over() -> None:
    before = gc.get_threshold()
    with rare_full_collections():
        assert gc.get_threshold() == (*before[:2], 1000)
    assert gc.get_threshold() == before


def test_what_was_imported_is_not_looked_through_as_python_ends() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
