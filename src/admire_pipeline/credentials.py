"""The token for private repositories of the Hub: taken in at one place, never shown."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from admire_pipeline.errors import UserError

HUB = "huggingface"
"""Key of Kedro's credentials."""
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Where huggingface_hub looks for a token, the first one first; child processes inherit them."""
MASK = "***"


def export_token(credentials: Any) -> None:
    """Put the token of Kedro's credentials into the environment, unless one is there.

    Args:
        credentials: All of them, as read from the files.

    Raises:
        UserError: If there is anything else under `huggingface`; no value is shown.
    """
    given = credentials.get(HUB) if isinstance(credentials, Mapping) else None
    if given is None:
        return
    token = given["token"] if isinstance(given, Mapping) and set(given) == {"token"} else None
    if not isinstance(token, str) or not token or token.split() != [token]:
        raise UserError(
            f"credentials.{HUB}: what stands there (not shown) is not a token; "
            "allowed: {token: <text>} and nothing else"
        )
    if not any(os.environ.get(name) for name in VARIABLES):
        os.environ[VARIABLES[0]] = token


def forget_login() -> None:
    """Use no token that `hf auth login` has left on the machine: it would be shown unmasked."""
    os.environ["HF_TOKEN_PATH"] = os.devnull
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        vars(constants)["HF_TOKEN_PATH"] = os.devnull


def masked(text: str) -> str:
    """The text without the token, wherever it was quoted."""
    for name in VARIABLES:
        if token := os.environ.get(name, "").strip():
            text = text.replace(token, MASK)
    return text


def mask_errors(error: BaseException) -> None:
    """Take the token out of the messages of an error and of all that led to it."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        if (at := left.pop()) is None or id(at) in seen:
            continue
        seen.add(id(at))
        at.args = tuple(masked(part) if isinstance(part, str) else part for part in at.args)
        if isinstance(at, OSError) and isinstance(at.strerror, str):
            at.strerror = masked(at.strerror)  # it is not shown from its arguments
        left += [at.__cause__, at.__context__]


class MaskedRecord(logging.LogRecord):
    """A log record without the token, whichever logger and handler it passes through."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take the traceback from here where it is there.
            self.exc_text = masked("".join(traceback.format_exception(*self.exc_info)).rstrip())

    def getMessage(self) -> str:  # noqa: N802 - its name in the standard library
        """See `logging.LogRecord`."""
        return masked(super().getMessage())


def mask_logs() -> None:
    """Let every log record of this process from here on be a masked one."""
    logging.setLogRecordFactory(MaskedRecord)
