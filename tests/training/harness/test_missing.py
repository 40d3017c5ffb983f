from __future__ import annotations

import pytest

from admire_pipeline.training.harness.missing import missing_package


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


NO_MODULE = ModuleNotFoundError("No module named 'langdetect'", name="langdetect")
SAID = "`sympy`, `math_verify` are required. Install them via pip install lm-eval[math] or"


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (NO_MODULE, "'lm-eval[ifeval]'"),
        (chained(ImportError("Cannot import module 'utils'"), NO_MODULE), "'lm-eval[ifeval]'"),
        (
            ModuleNotFoundError("No module named 'math_verify.x'", name="math_verify.x"),
            "'lm-eval[math]' 'omegaconf>=2.4'",
        ),
        (
            chained(ModuleNotFoundError(SAID), ModuleNotFoundError("…", name="antlr4")),
            "'lm-eval[math]' 'omegaconf>=2.4'",
        ),
        # The antlr4 that is there is another one.
        (chained(AssertionError(SAID), AssertionError()), "'lm-eval[math]' 'omegaconf>=2.4'"),
        (ModuleNotFoundError("No module named 'unheard_of'", name="unheard_of"), "unheard_of"),
        (ConnectionError("Couldn't reach 'x' on the Hub (lm-eval[math])"), None),
    ],
)
def test_what_to_install(error: Exception, package: str | None) -> None:
    assert missing_package(error) == package
