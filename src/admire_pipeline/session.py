"""A Kedro session that tells the hooks when it is interrupted, not only when it fails."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import signature
from types import FrameType
from typing import Any, NoReturn

from kedro.framework.session import KedroSession

_asked_for: ContextVar[tuple[str, ...]] = ContextVar("asked_for", default=())


def pipelines_asked_for() -> tuple[str, ...]:
    """Names of the pipelines that a session runs at the moment; empty outside of a run.

    Kedro tells its hooks only once the context is made, too late for what is checked before.
    """
    return _asked_for.get()


class InterruptibleSession(KedroSession):
    """Runs `on_pipeline_error` on Ctrl-C and SIGTERM too; Kedro's own lets both pass."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See `KedroSession.run`."""
        given = signature(super().run).bind(*args, **kwargs).arguments
        names = given.get("pipeline_names") or [given.get("pipeline_name") or "__default__"]
        token = _asked_for.set(tuple(names))
        try:
            with _sigterm_as_interrupt():
                return super().run(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            self._hook_manager.hook.on_pipeline_error(
                error=interrupt, run_params={}, pipeline=None, catalog=None
            )
            raise
        finally:
            _asked_for.reset(token)


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
