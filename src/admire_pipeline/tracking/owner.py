"""Which process works on a trial, and whether it still lives."""

from __future__ import annotations

import platform
from collections.abc import Callable
from threading import Event, Thread

import psutil

SAME_START = 5.0
"""Seconds by which a start time may shift: it is counted from the boot, whose time follows the
clock."""


def this_process() -> str:
    """Name of this process that no later one on this machine shares: host, pid and start time."""
    return _name(psutil.Process())


def is_gone(owner: str) -> bool | None:
    """Whether the process `owner` has ended; None where it is of another machine."""
    host, _, process = owner.partition("|")
    if host != platform.node():
        return None
    pid, _, started = process.partition("|")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > SAME_START
    except (psutil.NoSuchProcess, ValueError):
        return True


def _name(process: psutil.Process) -> str:
    # Pids are reused: the start time tells one holder from the next.
    return f"{platform.node()}|{process.pid}|{process.create_time():.2f}"


class Heartbeat:
    """Calls `beat` every `interval` seconds from a thread of its own until stopped."""

    def __init__(self, beat: Callable[[], object], interval: float) -> None:
        self._stop = Event()
        self._thread = Thread(target=self._run, args=(beat, interval), daemon=True)
        self._thread.start()

    def _run(self, beat: Callable[[], object], interval: float) -> None:
        while not self._stop.wait(interval):
            try:
                beat()
            except Exception:  # noqa: S112 - a server that is away for a while must not end a training
                continue

    def stop(self) -> None:
        """End the thread; a beat under way is waited for."""
        self._stop.set()
        self._thread.join(timeout=30)
