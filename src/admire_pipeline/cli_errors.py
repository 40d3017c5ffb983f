"""How a command ends: in one line about what a user can put right, else with its traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from admire_pipeline.credentials import mask_logs, mask_tracebacks, masked
from admire_pipeline.errors import CampaignOver, UserError, find_cause
from admire_pipeline.names import printable


@contextmanager
def one_line_errors(verbose: bool) -> Iterator[None]:
    """Show what a user can put right as one line; anything else keeps its traceback."""
    mask_logs()
    mask_tracebacks()
    if verbose:
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger("admire_pipeline").setLevel(logging.DEBUG)
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException("interrupted") from None
    except Exception as error:
        if (over := find_cause(error, CampaignOver)) is not None:
            click.echo(_one_line(over))
            return
        known = find_cause(error, UserError) or _outside_error(error)
        if known is None or verbose:
            raise
        raise click.ClickException(_one_line(known)) from None


def _one_line(error: BaseException) -> str:
    return printable(masked(" ".join(str(error).split())))


def _outside_error(error: Exception) -> UserError | None:
    """What to say when the tracking server or the disk failed in mid-step."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    for what, kind in (
        ("tracking server", MlflowException),
        ("tracking server", RequestException),
        ("files", OSError),
    ):
        if (cause := find_cause(error, kind)) is not None:
            line = masked((str(cause).splitlines() or [""])[0])
            return UserError(f"{what}: {line}; once that is mended, the same command goes on")
    return None
