"""Damaged checkpoints: none is trained on from, and no more is lost than need be."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.settings import ModelSettings, TrainingSettings
from tests.chaos import Chaos
from tests.damage import KINDS, damage
from tests.logs import ours
from tests.training.test_trainer import Killed, Recorder, train, weights

END = 20
"""Optimizer step after which the training is killed."""


@pytest.fixture
def recipe(recipe: TrainingSettings) -> TrainingSettings:
    """A checkpoint after every step."""
    return recipe.model_copy(update={"checkpoint_seconds": 1e-9})


@pytest.fixture
def cut(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> Path:
    """Checkpoints of a training that was killed."""
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path / "cut", Recorder(die_at=END))
    return tmp_path / "cut"


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))


@pytest.mark.chaos
def test_training_never_goes_on_from_a_damaged_checkpoint(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    cut: Path,
    tmp_path: Path,
    chaos: Chaos,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "admire_pipeline")
    recipe = recipe.model_copy(update={"checkpoint_seconds": 60})  # faster, and the same training
    whole, _ = train(corpus, model_settings, recipe, tmp_path / "whole", Recorder())
    before, last = steps(cut)
    newest = cut / f"checkpoint-{last}"
    names = sorted(str(path.relative_to(newest)) for path in newest.rglob("*") if path.is_file())
    assert {"complete", "model.safetensors", "optimizer.pt", "trainer_state.json"} <= set(names)
    chance = random.Random(1)
    fault = chaos.fault("a file of a checkpoint is truncated, or a bit of it flipped")
    for _ in range(5 if chaos.full else 1):
        for number, name in enumerate(names):
            # In the short form of the last one, and either, for each file in turn.
            for kind in KINDS if chaos.full else [KINDS[number % 2]]:
                hurt = chance.choice([before, last]) if chaos.full else last
                folder = tmp_path / "damaged"
                shutil.copytree(cut, folder)
                damage(folder / f"checkpoint-{hurt}" / name, kind, chance)
                caplog.clear()
                with fault.recovering():
                    resumed, _ = train(
                        corpus, model_settings, recipe, folder, recorder := Recorder()
                    )
                good = before if hurt == last else last
                # What a whole checkpoint vouches for is not trained again.
                fault.duplicated += good + 1 - min(recorder.losses())
                fault.lost += not torch.equal(weights(resumed), weights(whole))
                assert (fault.lost, fault.duplicated) == (0, 0), f"{hurt} {name} {kind}"
                assert ours(caplog) == [
                    f"checkpoint-{last}: {name} does not hold what was written to it; "
                    "training goes on from before it"
                ] * (hurt == last)
                shutil.rmtree(folder)


def test_where_all_are_damaged_training_starts_anew(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    cut: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "admire_pipeline")
    (cut / f"checkpoint-{steps(cut)[0]}" / "optimizer.pt").unlink()
    damage(cut / f"checkpoint-{steps(cut)[1]}" / "rng_state.pth", "flipped", random.Random(2))
    _, run = train(corpus, model_settings, recipe, cut, recorder := Recorder())
    assert min(recorder.losses()) == 1 and run.tokens == recipe.tokens
    assert [message.split(";")[0].partition(": ")[2] for message in ours(caplog)] == [
        "rng_state.pth does not hold what was written to it",
        "optimizer.pt is missing",
    ]


def test_what_is_trained_on_changed_text_is_thrown_away(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    """The shards are written to while a training reads them."""
    whole, _ = train(corpus, model_settings, recipe, tmp_path / "whole", Recorder())
    tokens = corpus.folders["letters"] / "train.tokens"
    before = tokens.read_bytes()
    recorder = Recorder()

    def log(metrics: Mapping[str, float], step: int) -> None:
        recorder.points.append((step, dict(metrics)))
        if step == END:
            with tokens.open("r+b") as file:
                file.write(bytes(len(before)))

    with pytest.raises(UserError, match=r"corpus\.domains\.letters: train\.tokens does not hold"):
        train(corpus, model_settings, recipe, tmp_path / "cut", Mock(log=log))
    with tokens.open("r+b") as file:
        file.write(before)
    resumed, _ = train(corpus, model_settings, recipe, tmp_path / "cut", recorder := Recorder())
    assert min(recorder.losses()) == END, "the last step before the change had its checkpoint"
    assert torch.equal(weights(resumed), weights(whole))


def test_text_that_changes_after_the_last_checkpoint(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 60})
    offsets = corpus.folders["letters"] / "train.offsets.npy"
    before = offsets.read_bytes()

    def log(metrics: Mapping[str, float], step: int) -> None:
        offsets.write_bytes(before[:-1])

    try:
        with pytest.raises(UserError, match=r"train\.offsets\.npy does not hold"):
            train(corpus, model_settings, recipe, tmp_path, Mock(log=log))
    finally:
        offsets.write_bytes(before)
