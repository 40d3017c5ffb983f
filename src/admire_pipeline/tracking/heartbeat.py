"""A sign of life while a process works on a trial."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread


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
