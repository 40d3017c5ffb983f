"""Secrets: taken in at one place, handed on by environment, never shown."""

from __future__ import annotations

import base64
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from admire_pipeline.errors import UserError

HUB = "huggingface"
"""Key of Kedro's credentials."""
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Where huggingface_hub looks for a token, the first one first; child processes inherit them."""
TRACKING_URI = "MLFLOW_TRACKING_URI"
TRACKING_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""Where MLflow looks for what it shows to a tracking server."""
MASK = "***"
SHORTEST = 6
"""Characters of a secret that is masked wherever it stands; a shorter one is a part of many words,
and a mask would tell which."""

_SECRET = re.compile("(TOKEN|PASSWORD|SECRET|_KEY|_PWD|CONNECTION_STRING)$", re.I)
"""How names end of what is secret: in the environment, in Kedro's credentials."""
_LOGIN = re.compile(r"(?<=://)(?:[^/\s:]*:\S*|[^/\s]+)@")
"""User and password in a URI. Greedy, since a password may hold @ and / too; a path after three
slashes is none, nor is what follows an @ in the path of a host without a port."""

_URI = re.compile("(?P<scheme>[^:/]+://)(?P<login>[^/?#]*)@(?P<host>.*)")

_known: set[str] = set()
"""Secrets that no variable of the environment holds."""


def export_token(credentials: Any) -> None:
    """Put the token of Kedro's credentials into the environment, unless one is there.

    Args:
        credentials: All of them, as read from the files.

    Raises:
        UserError: If there is anything else under `huggingface`; no value is shown.
    """
    _known.update(_secrets_in(credentials))
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


def export_login(uri: str) -> str:
    """Put user and password of a tracking server's URI into the environment, where MLflow looks.

    MLflow prints the URI that it is given, and quotes it in its errors.

    Returns:
        The URI without them. That of a database stays as it is: nothing else takes its password.

    Raises:
        UserError: If the password of a database would be taken for a part of its host, and shown.
    """
    if (parts := _URI.fullmatch(uri)) is None:
        return uri
    user, _, password = (unquote(part) for part in parts["login"].partition(":"))
    _known.update((password, _as_sent(user, password)))
    if not parts["scheme"].startswith("http"):
        if "@" in parts["login"]:
            raise UserError(
                f"campaign.tracking_uri: cannot use {masked(uri)!r} (there is an @ in its user or "
                "password); allowed: %40 in its place"
            )
        return uri
    bare = parts["scheme"] + parts["host"]
    if password:
        os.environ.update(zip(TRACKING_LOGIN, (user, password), strict=True))
    if os.environ.get(TRACKING_URI) == uri:
        os.environ[TRACKING_URI] = bare
    return bare


def forget_login() -> None:
    """Use no token that `hf auth login` has left on the machine: it would be shown unmasked."""
    os.environ["HF_TOKEN_PATH"] = os.devnull
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        vars(constants)["HF_TOKEN_PATH"] = os.devnull


def masked(text: str) -> str:
    """The text without secrets, wherever they were quoted, and its URIs without user and password.

    Secret is what a variable of the environment, or an entry of Kedro's credentials, holds whose
    name says so, and the login of the tracking server.
    """
    held = {value.strip() for name, value in os.environ.items() if _SECRET.search(name)}
    user, password = (os.environ.get(name, "") for name in TRACKING_LOGIN)
    if password:
        held.add(_as_sent(user, password))
    for secret in sorted(held | _known, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, MASK)
    return _LOGIN.sub("", text)


def mask_logs() -> None:
    """Let every log record of this process from here on be a masked one."""
    logging.setLogRecordFactory(MaskedRecord)


def mask_tracebacks() -> None:
    """Let the traceback that may end this process be a masked one."""
    sys.excepthook = _print_masked


class MaskedRecord(logging.LogRecord):
    """A log record without secrets, whichever logger and handler it passes through."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take the traceback from here where it is there.
            self.exc_text = masked("".join(traceback.format_exception(*self.exc_info)).rstrip())

    def getMessage(self) -> str:  # noqa: N802 - its name in the standard library
        """See `logging.LogRecord`."""
        return masked(super().getMessage())


def _print_masked(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def _as_sent(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _secrets_in(credentials: Any, name: str = "") -> Iterator[str]:
    """Texts in nested mappings whose key, or that of a mapping around them, says that they are."""
    if isinstance(credentials, Mapping):
        for key, value in credentials.items():
            yield from _secrets_in(value, name if _SECRET.search(name) else str(key))
    elif isinstance(credentials, str) and _SECRET.search(name):
        yield credentials
