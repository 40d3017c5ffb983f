"""Telling one process from any other, and whether it still lives."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil


def name_process() -> str:
    """Name of this process that no later one on this machine shares: host, pid and start."""
    # Pids are reused: the start tells one holder from the next.
    return f"{platform.node()}|{os.getpid()}|{_start(os.getpid())}"


def is_gone(name: str) -> bool | None:
    """Whether the process of that name has ended; None where it is of another machine."""
    host, _, process = name.partition("|")
    if host != platform.node():
        return None
    pid, _, started = process.partition("|")
    try:
        # One that nobody waits for stays in the table of processes, dead as it is.
        dead = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
        return dead or _start(int(pid)) != started
    except (psutil.NoSuchProcess, ValueError):
        return True


def _start(pid: int) -> str:
    """When a process started, however the clock is set later: in ticks since which boot."""
    try:
        # proc(5): the 22nd field; the 2nd, a name in brackets, may hold blanks.
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{ticks}"
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return f"{psutil.Process(pid).create_time():.0f}"  # macOS keeps it, and has no /proc
