"""A Kedro session that tells the hooks when it is interrupted, not only when it fails."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from kedro.framework.session import KedroSession


class InterruptibleSession(KedroSession):
    """Runs `on_pipeline_error` on Ctrl-C and SIGTERM too; Kedro's own lets both pass."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See `KedroSession.run`."""
        try:
            with _sigterm_as_interrupt():
                return super().run(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            self._hook_manager.hook.on_pipeline_error(
                error=interrupt, run_params={}, pipeline=None, catalog=None
            )
            raise


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    # Schedulers stop a job by SIGTERM; Python would end on the spot, without a word to the hooks.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
