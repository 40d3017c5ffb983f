"""Telling one process from any other, and whether it still lives."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from uuid import getnode

import psutil


def name_process() -> str:
    """Name that no other process has, on this machine or another, now or later."""
    # Pids are reused: the start tells one holder from the next.
    return f"{_machine()}|{os.getpid()}|{_start(os.getpid())}"


def is_gone(name: str) -> bool | None:
    """Whether the process of that name has ended; None where it cannot be seen from here."""
    machine, _, process = name.partition("|")
    if machine != _machine():
        return None
    pid, _, started = process.partition("|")
    try:
        # One that nobody waits for stays in the table of processes, dead as it is.
        dead = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
        return dead or _start(int(pid)) != started
    except psutil.NoSuchProcess:
        # The processes of other users may be hidden; that they are there is not.
        return None if psutil.pid_exists(int(pid)) else True
    except (psutil.AccessDenied, PermissionError):
        return None
    except ValueError:
        return True


@cache
def _machine() -> str:
    """Whose table of processes this one stands in, until the next boot.

    A host's name would not do: containers may share one, and so may the machines of a laboratory.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        table = os.readlink("/proc/self/ns/pid")  # the same in all containers that see each other
    except OSError:
        return f"{platform.node()}/{getnode():x}"  # macOS: no /proc, no containers of its own
    return f"{platform.node()}/{boot}/{table}"


def _start(pid: int) -> str:
    """When a process started, however the clock is set later: in ticks since the boot."""
    try:
        # proc(5): the 22nd field; the 2nd, a name in brackets, may hold blanks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return f"{psutil.Process(pid).create_time():.0f}"  # macOS keeps it, and has no /proc
