"""What a campaign leaves on the disk of its trials' weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

Steps = Callable[[Project, int], None]


def run(project: Project, *stages: str) -> str:
    output = ""
    for stage in stages:
        result = project.kedro("run", f"--pipelines={stage}")
        assert result.exit_code == 0, result.output
        output += result.output
    return output


def folder(project: Project, trial: Any) -> Path:
    return project.folder / "data" / "06_models" / "trials" / trial.info.run_id


def weights(project: Project, trial: Any) -> list[str]:
    return [path.name for path in folder(project, trial).rglob("*.safetensors")]


def test_the_best_at_the_target_keep_theirs(project: Project, steps: Steps) -> None:
    steps(project, 3)
    assert all(weights(project, trial) for trial in project.runs()), "all, where nothing is said"
    assert {trial.data.params["fidelity"] for trial in project.runs()} == {"nano", "small"}
    project.set("parameters.yml", "campaign.keep_weights", "best-1")
    steps(project, 1)
    trials = project.runs()
    targets = [trial for trial in trials if trial.data.params["fidelity"] == "small"]
    assert 1 < len(targets) < len(trials)
    best = max(targets, key=lambda trial: trial.data.metrics["score"])
    for trial in trials:
        kept = ["model.safetensors"] if trial is best else []
        assert weights(project, trial) == kept, trial.info.run_name
        # What was paid for stays.
        model = folder(project, trial) / "model"
        assert json.loads((model / "training_run.json").read_text())["tokens"] == 8192
        assert (model / "config.json").exists()
        assert (folder(project, trial) / "evaluation.json").exists()


def test_a_trial_keeps_its_own_until_it_has_ended(project: Project) -> None:
    project.set("parameters.yml", "campaign.keep_weights", "none")
    run(project, "proposal", "data_mixing", "fine_tuning")
    (trial,) = project.runs()
    assert trial.info.status == "SCHEDULED" and weights(project, trial)
    run(project, "evaluation", "bo_update")
    assert not weights(project, trial)


@pytest.mark.parametrize("what", ["all", "best-2"])
def test_what_a_failed_trial_leaves(project: Project, what: str) -> None:
    project.set("parameters.yml", "campaign.keep_weights", what)
    run(project, "proposal", "data_mixing", "fine_tuning")
    (failed,) = project.runs()
    checkpoint = folder(project, failed) / "checkpoints" / "checkpoint-1" / "optimizer.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert project.kedro("admire", "abandon").exit_code == 0
    run(project, "admire_step")
    assert bool(weights(project, failed)) == checkpoint.exists() == (what == "all")
    assert (folder(project, failed) / "mixing_plan.json").exists()


def test_weights_that_are_gone_are_told_in_a_line(project: Project) -> None:
    run(project, "proposal", "data_mixing", "fine_tuning")
    (trial,) = project.runs()
    (folder(project, trial) / "model" / "model.safetensors").unlink()
    result = project.kedro("run", "--pipelines=evaluation")
    assert result.exit_code == 1
    assert "the trial's weights are not there" in result.output
    (trial,) = project.runs()
    assert trial.info.status == "KILLED" and trial.data.tags["admire.resumable"] == "true"


@pytest.mark.parametrize("what", ["some", "best-0", "best"])
def test_another_policy_is_refused(project: Project, what: str) -> None:
    project.set("parameters.yml", "campaign.keep_weights", what)
    result = project.kedro("run", "--pipelines=proposal")
    assert result.exit_code == 1
    expected = f"campaign.keep_weights: '{what}' is not allowed; allowed: all, none, or best-<k>"
    assert expected in result.output
