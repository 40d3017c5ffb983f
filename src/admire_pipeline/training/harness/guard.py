"""No code of the Hub is run for a benchmark task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from admire_pipeline.errors import UserError


@contextmanager
def no_hub_code(key: str) -> Iterator[None]:
    """Refuse what a task would do by `evaluate.load`: fetch a metric's Python code and run it.

    Args:
        key: Of the task in the config, for the message.

    Raises:
        UserError: If that was tried, also where the harness has swallowed our refusal.
    """
    import evaluate

    asked: list[str] = []

    def refuse(path: str, *_: Any, **__: Any) -> NoReturn:
        asked.append(path)
        raise UserError(_message(key, path))

    load, evaluate.load = evaluate.load, refuse
    try:
        yield
    except Exception as error:
        if asked:
            raise UserError(_message(key, asked[0])) from error
        raise
    finally:
        evaluate.load = load
    if asked:
        raise UserError(_message(key, asked[0]))


def _message(key: str, metric: str) -> str:
    return (
        f"{key}.task: it measures {metric!r} by code that is fetched from the Hub, which is never "
        "run; allowed: another task"
    )
