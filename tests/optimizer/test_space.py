from __future__ import annotations

import subprocess
import sys

import pytest

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Space

MIXTURES = MixtureSpace(("a", "b"))


def test_the_target_is_the_last() -> None:
    space = Space(MIXTURES, (Fidelity("small", 0.1), Fidelity("large", 1.0)))
    assert space.target == Fidelity("large", 1.0)


@pytest.mark.parametrize(
    ("fidelities", "message"),
    [
        ([], "at least 1"),
        ([Fidelity("s", 1), Fidelity("s", 2)], "'s' is named twice"),
        ([Fidelity("s", 0)], "fidelities.s.cost: 0"),
        ([Fidelity("s", float("nan"))], "fidelities.s.cost: nan"),
        ([Fidelity("s", float("inf"))], "fidelities.s.cost: inf"),
    ],
)
def test_bad_fidelities(fidelities: list[Fidelity], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space(MIXTURES, tuple(fidelities))


def test_importing_the_package_leaves_torch_alone() -> None:
    code = "import sys, admire_pipeline.optimizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
