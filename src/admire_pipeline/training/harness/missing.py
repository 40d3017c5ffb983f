"""Packages that a task's code needs and lm-evaluation-harness leaves to whoever wants them."""

from __future__ import annotations

import re
from importlib.metadata import requires

BESIDES = {"math": " 'omegaconf>=2.4'"}
"""What an extra needs besides: that of `math` is an antlr4 that no older omegaconf works with, and
so no kedro."""


def missing_package(error: BaseException | None) -> str | None:
    """What to install, where an error says that a task's code lacks a package.

    Args:
        error: Of building a task.

    Returns:
        Arguments of `pip install`; None where the error says something else.
    """
    module = None
    while error is not None:
        # Some tasks catch the error and say which extra they need; one asserts a version.
        named = isinstance(error, ImportError | AssertionError)
        if named and (extra := re.search(r"lm[-_]eval\[([\w-]+)\]", str(error))):
            return _extra(extra[1])
        if isinstance(error, ModuleNotFoundError):
            module = error.name or module
        error = error.__cause__
    return module and _find_extra(module.partition(".")[0])


def _find_extra(module: str) -> str:
    for line in requires("lm_eval") or ():
        package = re.match(r"[\w.-]+", line)
        extra = re.search(r'extra == "([\w-]+)"', line)
        if package and extra and _plain(package[0]) == _plain(module):
            return _extra(extra[1])
    return module


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _extra(name: str) -> str:
    return f"'lm-eval[{name}]'{BESIDES.get(name, '')}"
