"""A disk that takes no more: the trial waits, and what it has is as good as before."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from admire_pipeline.hooks import CampaignHooks
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.run import load_model, train_trial
from admire_pipeline.training.settings import (
    EvaluationSettings,
    FidelitySettings,
    ModelSettings,
    TrainingSettings,
)
from tests.chaos import Chaos
from tests.training.test_trainer import Recorder, train, weights

LARGE = ("model.safetensors", "optimizer.pt")
SMALL = 1000
"""Bytes that the smaller ones may have."""


@contextmanager
def limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_at(step: int, size: int) -> Mock:
    """A recorder in whose hands the disk fills."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def log(_: Mapping[str, float], now: int) -> None:
        if now == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    return Mock(log=log)


@pytest.mark.chaos
def test_checkpoint_that_does_not_fit(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    tmp_path: Path,
    chaos: Chaos,
) -> None:
    """The disk is full at a random byte of one of its larger files, at a random step."""
    fault = chaos.fault("a checkpoint does not fit on the disk: at a random byte of a random file")
    chance = random.Random(15)
    whole, _ = train(corpus, model_settings, recipe, tmp_path / "whole", Recorder())
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9, "keep_checkpoints": 40})
    train(corpus, model_settings, recipe, tmp_path / "sizes", Recorder())
    recipe = recipe.model_copy(update={"keep_checkpoints": 2})
    for number in range(20 if chaos.full else 2):
        step = chance.randrange(3, 30) if chaos.full else 20
        name = LARGE[number % 2]
        size = (tmp_path / "sizes" / f"checkpoint-{step - 1}" / name).stat().st_size
        cut = tmp_path / f"cut-{number}"
        # What is smaller than all of them is no checkpoint's part alone.
        room = chance.randrange(SMALL, size) if chaos.full else size - 1
        with limit(2**40), pytest.raises(OSError) as failed:
            train(corpus, model_settings, recipe, cut, fill_at(step, room))
        assert not CampaignHooks._is_to_blame(failed.value)
        assert f"checkpoint-{step} could not be written (" in str(failed.value)
        assert not (cut / f"checkpoint-{step}").exists(), "what is left of it makes room"
        complete = sorted(int(m.parent.name.split("-")[1]) for m in cut.glob("*/complete"))
        assert complete == [step - 2, step - 1], "those before are whole"
        with fault.recovering():
            resumed, _ = train(corpus, model_settings, recipe, cut, recorder := Recorder())
        fault.duplicated += step - min(recorder.losses())
        fault.lost += not torch.equal(weights(resumed), weights(whole))
        assert (fault.lost, fault.duplicated) == (0, 0)


def test_model_that_does_not_fit(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    fidelity = FidelitySettings(cost=1.0, model=model_settings, training=recipe)
    mixture = {"letters": 0.5, "numbers": 0.5}
    plan = plan_mixture(mixture, recipe.draws, recipe.sequence_length, corpus, seed=5).to_dict()
    evaluation = EvaluationSettings(batch_size=4, max_bytes=2048, curve_bytes=512)
    folder = tmp_path / "trial"
    # The last step has no checkpoint: the model is all that is written after it.
    recorder = fill_at(recipe.draws // recipe.step_sequences, 1000)
    with limit(2**40), pytest.raises(OSError, match=r"\.model could not be written") as failed:
        train_trial(fidelity, plan, corpus, folder, 5, evaluation, recorder.log)
    assert not CampaignHooks._is_to_blame(failed.value)
    assert not (folder / "model").exists() and not (folder / ".model").exists()
    run = train_trial(fidelity, plan, corpus, folder, 5, evaluation, (again := Recorder()).log)
    assert len(again.losses()) == 1, "the last step alone"
    assert load_model(folder / "model").num_parameters() == run["parameters"]
