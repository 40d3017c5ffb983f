"""A Kedro session that tells the hooks when it is interrupted, not only when it fails."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import signature
from typing import Any

from kedro.framework.session import KedroSession

from admire_pipeline.interrupts import interruptible

_asked_for: ContextVar[tuple[str, ...]] = ContextVar("asked_for", default=())


def pipelines_asked_for() -> tuple[str, ...]:
    """Names of the pipelines that a session runs at the moment; empty outside of a run.

    Kedro tells its hooks only once the context is made, too late for what is checked before.
    """
    return _asked_for.get()


@contextmanager
def rare_full_collections() -> Iterator[None]:
    """Look through all objects for garbage less often; young garbage goes as it always does.

    What a step imports are a million objects that stay. Python looks through them all whenever
    they have become a quarter more, which is a sixth of a short step. From 3.14 on it does so a
    little at a time, and this changes nothing.
    """
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def leave_garbage_at_exit() -> None:
    """Have Python not look through all objects several times as it ends: 2 s of a short step."""
    atexit.unregister(gc.freeze)  # once will do, however many sessions there are
    atexit.register(gc.freeze)


class InterruptibleSession(KedroSession):
    """Runs `on_pipeline_error` on Ctrl-C and SIGTERM too; Kedro's own lets both pass."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See `KedroSession.run`."""
        given = signature(super().run).bind(*args, **kwargs).arguments
        names = given.get("pipeline_names") or [given.get("pipeline_name") or "__default__"]
        token = _asked_for.set(tuple(names))
        leave_garbage_at_exit()
        try:
            with interruptible(), rare_full_collections():
                return super().run(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            self._hook_manager.hook.on_pipeline_error(
                error=interrupt, run_params={}, pipeline=None, catalog=None
            )
            raise
        finally:
            _asked_for.reset(token)
