"""The errors that a user can act on: printed as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar


class UserError(ValueError):
    """Something the user can put right; the message names key, value and what is allowed.

    An open trial stays resumable: once the cause is mended, the same command finishes it.
    """


class CampaignOver(Exception):
    """The campaign needs no further step: its budget is spent."""


class TrialError(UserError):
    """The trial itself has failed and would fail again, e.g. its score is not a number."""


class LaunchError(RuntimeError):
    """A process that was launched for a trial has failed; the message holds its last lines."""


_E = TypeVar("_E", bound=BaseException)


def find_cause(error: BaseException | None, kind: type[_E]) -> _E | None:
    """The first of `error` and what caused it that is of `kind`; None if there is none."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error


def suggest(name: str, allowed: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid one, then all of them."""
    names = list(allowed)
    return f"{suggest_nearest(name, names)}allowed: {', '.join(names)}"


def suggest_nearest(name: str, allowed: Iterable[str]) -> str:
    """The nearest valid name as a question; empty where none is near."""
    nearest = get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}? " if nearest else ""
