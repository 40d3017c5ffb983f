"""A Kedro session that tells the hooks when it is interrupted, not only when it fails."""

from __future__ import annotations

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


class InterruptibleSession(KedroSession):
    """Runs `on_pipeline_error` on Ctrl-C and SIGTERM too; Kedro's own lets both pass."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See `KedroSession.run`."""
        given = signature(super().run).bind(*args, **kwargs).arguments
        names = given.get("pipeline_names") or [given.get("pipeline_name") or "__default__"]
        token = _asked_for.set(tuple(names))
        try:
            with interruptible():
                return super().run(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            self._hook_manager.hook.on_pipeline_error(
                error=interrupt, run_params={}, pipeline=None, catalog=None
            )
            raise
        finally:
            _asked_for.reset(token)
