"""Telling one process from any other, and whether it still lives."""

from __future__ import annotations

import platform

import psutil

SAME_START = 5.0
"""Seconds by which a start time may shift: it is counted from the boot, whose time follows the
clock."""


def name_process() -> str:
    """Name of this process that no later one on this machine shares: host, pid and start time."""
    # Pids are reused: the start time tells one holder from the next.
    process = psutil.Process()
    return f"{platform.node()}|{process.pid}|{process.create_time():.2f}"


def is_gone(name: str) -> bool | None:
    """Whether the process of that name has ended; None where it is of another machine."""
    host, _, process = name.partition("|")
    if host != platform.node():
        return None
    pid, _, started = process.partition("|")
    try:
        found = psutil.Process(int(pid))
        # One that nobody waits for stays in the table of processes, dead as it is.
        dead = found.status() == psutil.STATUS_ZOMBIE
        return dead or abs(found.create_time() - float(started)) > SAME_START
    except (psutil.NoSuchProcess, ValueError):
        return True
