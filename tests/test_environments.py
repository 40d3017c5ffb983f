"""The environments that we ship resolve and are valid, on a machine without a GPU too."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from admire_pipeline.training.models import check_model

PROJECT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("env", "target"), [("base", "small"), ("gpu", "200M")])
def test_a_shipped_environment_is_valid(env: str, target: str) -> None:
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=env) as session:
        catalog = session.load_context().catalog
        ladder, evaluation = (
            catalog.load(f"params:{name}") for name in ("fidelities", "evaluation")
        )
    assert list(ladder.root)[-1] == target
    for name, fidelity in ladder.root.items():
        check_model(fidelity, f"fidelities.{name}")
        # Of an embedded domain there are that many tokens; what is evaluated must fill a batch.
        assert evaluation.batch_size * fidelity.training.sequence_length <= evaluation.max_bytes
