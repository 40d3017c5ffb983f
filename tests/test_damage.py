"""Files of a campaign that a disk has damaged: no score comes from one."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.training.weights import model_hash
from tests.chaos import Chaos
from tests.conftest import Project
from tests.damage import KINDS, damage
from tests.histories import tally
from tests.test_crash import mlflow_client

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
    fault = chaos.fault("a bit of a finished model is flipped before its evaluation")
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
        resumed = re.findall(r"resuming from checkpoint-(\d+)", caplog.text)
        # Of 16 steps, the last one alone is trained again.
        fault.duplicated += 15 - min(map(int, resumed or [0]))
        fault.lost += model_hash(model) != trained
        assert (fault.lost, fault.duplicated) == (0, 0)
    tally(mlflow_client(project), fault)
    assert (fault.lost, fault.duplicated) == (0, 0)
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


@pytest.mark.chaos
def test_damaged_files_of_a_trial_are_fetched_from_its_run(
    project: Project, chaos: Chaos, caplog: pytest.LogCaptureFixture
) -> None:
    """Stages run one by one, and each meets damage to what the one before has left."""
    stages = {
        "proposal": [],
        "data_mixing": ["mixing_plan.json"],
        "fine_tuning": ["training_run.json"],
        "evaluation": ["evaluation.json", "score.json"],
        "bo_update": [],
    }
    fault = chaos.fault("a file of a trial (plan, training run, evaluation, score) is damaged")
    chance = random.Random(8)
    for number in range(5 if chaos.full else 1):
        hurt: list[str] = []
        for stage, names in stages.items():
            began = time.monotonic()
            run(project, stage)
            if hurt:
                fault.seconds.append(time.monotonic() - began)
            folder = project.folder / "data/06_models/trials" / project.runs()[-1].info.run_id
            for name in names:
                before = (folder / name).read_bytes()
                damage(folder / name, KINDS[number % 2 - 1], chance)
                assert (folder / name).read_bytes() != before
            hurt = names
        trial = project.runs()[-1]
        for names in stages.values():
            for name in names:
                assert f"{name} does not hold what was written to it; its copy in" in caplog.text
        seen = json.loads((folder / "step_report.json").read_text())["trial"]
        assert seen["score"] == trial.data.metrics["score"]
        assert json.loads((folder / "score.json").read_text())["value"] == seen["score"]
        plan = json.loads((folder / "mixing_plan.json").read_text())
        assert sum(entry["tokens"] for entry in plan["domains"]) == plan["tokens"] == 8192
        fault.tries += 4
        fault.duplicated += caplog.text.count("resuming from checkpoint-")
        caplog.clear()
    tally(mlflow_client(project), fault)
    assert (fault.lost, fault.duplicated) == (0, 0)


def test_a_damaged_file_without_a_copy_is_told_in_a_line(project: Project) -> None:
    run(project, "proposal", "data_mixing")
    trial, folder = the_trial(project)
    plan = folder / "mixing_plan.json"
    damage(plan, "flipped", random.Random(9))
    for copy in (project.folder / "data" / "mlflow" / "artifacts").rglob(plan.name):
        copy.unlink()
    result = project.kedro("run", "--pipelines=fine_tuning")
    assert result.exit_code == 1
    assert f"{trial.info.run_name}: mixing_plan.json does not hold what was written" in (
        result.output
    )
    run(project, "admire_step")
    assert the_trial(project)[0].info.status == "FINISHED"


def refused(project: Project, stage: str, words: str) -> None:
    result = project.kedro("run", f"--pipelines={stage}")
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.slow
@pytest.mark.chaos
def test_corpus_that_changes_under_a_campaign(project: Project, chaos: Chaos) -> None:
    fault = chaos.fault("the corpus changes under a campaign: its text, its shards")
    text = project.folder / "data" / "01_raw" / "letters.txt"
    raw = text.read_text()

    def change_text() -> None:
        text.write_text(raw + "\nabcd abcd")

    def mend_text() -> None:
        text.write_text(raw)

    def shards() -> Path:
        folders = (project.folder / "data" / "05_model_input" / "corpus").glob("letters-*")
        return max(folders, key=lambda folder: folder.stat().st_mtime_ns)

    def change_shards() -> None:
        damage(shards() / "train.tokens", "flipped", random.Random(11))

    def mend_shards() -> None:
        shutil.rmtree(shards())

    project.set("parameters.yml", "campaign.budget", 20)
    run(project, "admire_step")
    words = {change_text: "was made with other text", change_shards: "letters: train.tokens does"}
    for _ in range(4 if chaos.full else 1):
        for change, mend in ((change_text, mend_text), (change_shards, mend_shards)):
            known = [trial.info.run_id for trial in project.runs()]
            change()
            refused(project, "admire_step", words[change])
            assert [trial.info.run_id for trial in project.runs()] == known, "before one is opened"
            mend()
            with fault.recovering():
                run(project, "proposal", "data_mixing")
            change()
            refused(project, "fine_tuning", words[change])
            trial = project.runs()[-1]
            assert len(project.runs()) == len(known) + 1
            assert trial.info.status in ("KILLED", "SCHEDULED"), "it waits"
            mend()
            with fault.recovering():
                run(project, "admire_step")
            runs = tally(mlflow_client(project), fault)
            assert len(runs) == len(known) + 1
            assert (fault.lost, fault.duplicated) == (0, 0)
