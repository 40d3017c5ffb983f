"""A process whose wall clock can be set: with this folder in PYTHONPATH, Python imports this first.

The file that FALSE_CLOCK names holds seconds by which the clock is wrong; it is looked at again and
again, and the same number is written to `<file>.set` once the clock shows it. The clock that only
counts (`time.monotonic`) is left alone, as it is where somebody sets the time of a machine.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Thread

import time_machine

LOOKS = 0.02
"""Seconds between two."""


def follow(file: Path) -> None:
    """Set the clock whenever the file says so."""
    wrong = 0.0
    done = Path(f"{file}.set")
    while True:
        wanted = float(file.read_text()) if file.exists() else wrong
        if wanted != wrong:
            time_machine.travel(time.time() + wanted - wrong, tick=True).start()
            wrong = wanted
            done.write_text(str(wrong))
        time.sleep(LOOKS)


if told := os.environ.get("FALSE_CLOCK"):
    Thread(target=follow, args=(Path(told),), daemon=True).start()
