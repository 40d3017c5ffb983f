"""Files of a campaign that a disk has damaged: no score comes from one."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.training.weights import model_hash
from tests.chaos import Chaos
from tests.conftest import Project
from tests.damage import damage

TRAINED = ("proposal", "data_mixing", "fine_tuning")


@pytest.fixture
def with_checkpoints(project: Project) -> Project:
    """A checkpoint after every optimizer step."""
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.checkpoint_seconds", 1e-9)
    return project


def run(project: Project, *stages: str) -> None:
    for stage in stages:
        result = project.kedro("run", f"--pipelines={stage}")
        assert result.exit_code == 0, result.output


def the_trial(project: Project) -> tuple[Any, Path]:
    (trial,) = project.runs()
    return trial, project.folder / "data" / "06_models" / "trials" / trial.info.run_id


@pytest.mark.chaos
def test_damaged_model_is_trained_to_the_end_again_and_not_evaluated(
    with_checkpoints: Project, chaos: Chaos, caplog: pytest.LogCaptureFixture
) -> None:
    project = with_checkpoints
    run(project, *TRAINED)
    _, folder = the_trial(project)
    model = folder / "model"
    trained = model_hash(model)
    fault = chaos.fault("a bit of the finished model flipped before its evaluation")
    chance = random.Random(4)
    tries = 10 if chaos.full else 1
    for number in range(tries):
        damage(model / "model.safetensors", "flipped", chance)
        result = project.kedro("run", "--pipelines=evaluation")
        assert result.exit_code == 1
        assert result.output.count("did not hold what the training had left") == 1
        assert "Traceback" not in result.output
        caplog.clear()
        with fault.recovering():
            run(project, "fine_tuning" if number < tries - 1 else "admire_step")
        assert "resuming from checkpoint-15" in caplog.text, "of 16 steps, the last one again"
        assert model_hash(model) == trained
    trial, _ = the_trial(project)
    assert trial.info.status == "FINISHED"
    assert not (folder / "checkpoints").exists(), "not needed any more"


def test_an_evaluated_model_may_be_gone(with_checkpoints: Project) -> None:
    project = with_checkpoints
    run(project, *TRAINED, "evaluation")
    _, folder = the_trial(project)
    damage(folder / "model" / "model.safetensors", "flipped", random.Random(5))
    run(project, "evaluation")
    shutil.rmtree(folder / "model")
    run(project, "evaluation", "bo_update")
    assert the_trial(project)[0].info.status == "FINISHED"
