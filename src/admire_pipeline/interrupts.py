"""Ctrl-C and SIGTERM that are not lost.

Python raises KeyboardInterrupt wherever the main thread is. Where that is in a callback of a
library, as when an object is freed, it is printed and forgotten, and the work goes on. So it is
remembered here, and raised again where it is heard.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_asked = threading.Event()


def stop_if_asked() -> None:
    """Raise an interrupt that came before and was lost.

    Raises:
        KeyboardInterrupt: If there was one since the work began.
    """
    if _asked.is_set():
        raise KeyboardInterrupt("asked to stop before")


@contextmanager
def interruptible() -> Iterator[None]:
    """Work that Ctrl-C and SIGTERM end by KeyboardInterrupt, at its end at the latest.

    Schedulers stop a job by SIGTERM; Python would end on the spot, without a word to the hooks.
    A Ctrl-C that is ignored, as in a job that a shell runs in the background, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        _asked.set()
        raise KeyboardInterrupt(signal.Signals(number).name)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
        stop_if_asked()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        _asked.clear()
