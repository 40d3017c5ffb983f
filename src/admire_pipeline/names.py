"""What names may be: they become keys of MLflow, files, and words on a terminal or in a figure."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

DOMAIN_NAMES = "up to 100 letters, digits, _ - . space, and / between parts"
"""What `is_domain_name` allows, in words."""

_DOMAIN = re.compile(r"[A-Za-z0-9_\-. ]+(/[A-Za-z0-9_\-. ]+)*")


def is_domain_name(name: str) -> bool:
    """Whether MLflow takes it as the `<domain>` of a parameter or metric key on every platform."""
    if len(name) > 100 or not _DOMAIN.fullmatch(name):
        return False
    return not {".", ".."} & set(name.split("/"))


def is_printable(text: str) -> bool:
    """Whether a terminal would show it all, and take nothing of it for a command."""
    return not any(unicodedata.category(letter).startswith("C") for letter in text)


def printable(text: str) -> str:
    """The text with a question mark for all that a terminal would not show."""
    return "".join(letter if is_printable(letter) else "?" for letter in text)


def is_run_id(text: str) -> bool:
    """Whether it can be the id of an MLflow run: in a path, a URL and a filter it is one word."""
    return re.fullmatch("[A-Za-z0-9_-]{1,64}", text) is not None


def _check_run_id(text: str) -> str:
    if not is_run_id(text):
        raise ValueError(f"{text[:64]!r} is no run id; allowed: up to 64 letters, digits, _ -")
    return text


def _check_domain(name: str) -> str:
    if not is_domain_name(name):
        raise ValueError(f"{name[:100]!r} is no domain's name; allowed: {DOMAIN_NAMES}")
    return name


DomainName = Annotated[str, AfterValidator(_check_domain)]
FidelityName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=50)]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=100)]
RunId = Annotated[str, AfterValidator(_check_run_id)]
