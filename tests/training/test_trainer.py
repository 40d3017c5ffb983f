from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from transformers import PreTrainedModel

from admire_pipeline.errors import TrialError, UserError
from admire_pipeline.integrity import read_sealed, write_sealed
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.dataset import MixtureDataset
from admire_pipeline.training.evaluation import evaluate_domains, mean_bits_per_byte
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.models import build_model
from admire_pipeline.training.settings import ModelSettings, TrainingSettings
from admire_pipeline.training.trainer import TrainingRun, train_model


class Killed(BaseException):
    """Ends a training as a signal would."""


class Recorder:
    def __init__(self, die_at: int | None = None) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []
        self._die_at = die_at

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.points.append((step, dict(metrics)))
        if step == self._die_at:
            raise Killed

    def losses(self) -> dict[int, float]:
        return {step: m["train.loss"] for step, m in self.points if "train.loss" in m}


def train(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    folder: Path,
    recorder: Recorder,
) -> tuple[PreTrainedModel, TrainingRun]:
    model = build_model(model_settings, corpus, recipe.sequence_length, seed=5)
    plan = plan_mixture(
        {"letters": 0.5, "numbers": 0.5}, recipe.draws, recipe.sequence_length, corpus, seed=5
    )
    dataset = MixtureDataset(plan, corpus)
    run = train_model(
        model, dataset, recipe, folder, 5, recorder.log, lambda _: {"validation.x": 1.0}
    )
    return model, run


def weights(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_learns(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    before = build_model(model_settings, corpus, recipe.sequence_length, seed=5)
    model, run = train(corpus, model_settings, recipe, tmp_path, recorder := Recorder())
    worse, better = (
        mean_bits_per_byte(evaluate_domains(m, corpus, 64, 16, 1024)) for m in (before, model)
    )
    assert better < worse - 2, "from the 8.6 bits of a blank model"
    assert run.tokens == 16384
    assert run.parameters == weights(model).numel()
    # 6 N + 12 L d T a token (PaLM, appendix B)
    assert run.flops == 16384 * (6 * run.parameters + 12 * 1 * 16 * 64)
    assert run.seconds > 0
    assert [step for step, m in recorder.points if "validation.x" in m] == [16, 32]


def test_trained_model_beats_a_unigram_model(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    """Letters come in words, numbers in groups: the context tells which alphabet is next."""
    longer = recipe.model_copy(update={"tokens": 65536})
    model, _ = train(corpus, model_settings, longer, tmp_path, Recorder())
    counts = np.zeros(corpus.vocab_size)
    for domain in corpus.domains:
        counts += np.bincount(corpus.train_tokens(domain), minlength=len(counts))
    bits = -np.log2((counts + 1) / (counts + 1).sum())
    for metric in evaluate_domains(model, corpus, 64, 16, 1024)[:2]:
        unigram = bits[corpus.validation(metric.name.split(".")[1]).tokens].mean()
        assert metric.value < unigram - 0.5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler for torch.compile")
def test_compiled_training_is_the_same_training(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    plain, _ = train(corpus, model_settings, recipe, tmp_path / "plain", Recorder())
    recipe = recipe.model_copy(update={"compile": True, "checkpoint_seconds": 1e-9})
    counters.clear()
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path / "cut", Recorder(die_at=20))
    compiled, _ = train(corpus, model_settings, recipe, tmp_path / "cut", Recorder())
    assert counters["stats"]["unique_graphs"] > 0, "something was compiled"
    # Fused operations round otherwise; AdamW's first steps have the size of the rate whatever they
    # are taken for, so rounding shows.
    torch.testing.assert_close(weights(compiled), weights(plain), atol=2e-3, rtol=0)


GPT2 = ModelSettings(
    config={"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.3}
)


@pytest.mark.parametrize("kind", ["llama", "gpt2 with dropout"])
def test_resumed_training_equals_an_uninterrupted_one(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    tmp_path: Path,
    kind: str,
) -> None:
    if kind != "llama":
        model_settings = GPT2
    whole, _ = train(corpus, model_settings, recipe, tmp_path / "whole", first := Recorder())
    # A checkpoint after every step, and an end in the middle.
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path / "cut", Recorder(die_at=20))
    assert len(list((tmp_path / "cut").glob("checkpoint-*"))) <= 2
    resumed, run = train(corpus, model_settings, recipe, tmp_path / "cut", second := Recorder())
    assert min(second.losses()) >= 20, "it went on from its checkpoint"
    assert torch.equal(weights(whole), weights(resumed))
    last = max(second.losses())
    assert second.losses()[last] == first.losses()[last]
    steps = [entry["step"] for entry in run.curves if "loss" in entry]
    assert steps == sorted(set(steps)), "the curve of both parts, once"


def test_seconds_of_both_parts_count(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path, Recorder(die_at=20))
    (mark, *_) = sorted(tmp_path.glob("checkpoint-*/complete"), key=lambda p: -p.stat().st_mtime_ns)
    before = read_sealed(mark)
    assert before["seconds"] > 0
    write_sealed(mark, {**before, "seconds": 1000.0})
    _, run = train(corpus, model_settings, recipe, tmp_path, Recorder())
    assert 1000 < run.seconds < 1100


def test_half_written_checkpoint_is_not_used(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path, Recorder(die_at=20))
    newest = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "complete").unlink()
    (newest / "model.safetensors").write_bytes(b"cut off")
    train(corpus, model_settings, recipe, tmp_path, recorder := Recorder())
    # It fell back to the one before.
    assert 2 <= min(recorder.losses()) == int(newest.name.split("-")[1])


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint_seconds": 60.0, "keep_checkpoints": 3, "evaluations": 0},
        {"gradient_checkpointing": True},
        {"batch_size": 4, "gradient_accumulation": 2},
    ],
)
def test_what_saves_time_or_memory_may_change_and_the_training_goes_on(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    tmp_path: Path,
    change: dict[str, object],
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    whole, _ = train(corpus, model_settings, recipe, tmp_path / "whole", Recorder())
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path / "cut", Recorder(die_at=20))
    other = recipe.model_copy(update=change)
    resumed, _ = train(corpus, model_settings, other, tmp_path / "cut", recorder := Recorder())
    assert min(recorder.losses()) >= 19
    assert torch.allclose(weights(whole), weights(resumed), atol=2e-3)


def test_checkpoint_of_another_recipe_is_left_and_refused(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(Killed):
        train(corpus, model_settings, recipe, tmp_path, Recorder(die_at=20))
    other = recipe.model_copy(update={"learning_rate": 0.02})
    with pytest.raises(UserError, match=r"checkpoint-\d+: it is of another recipe.*or delete"):
        train(corpus, model_settings, other, tmp_path, Recorder())
    _, run = train(corpus, model_settings, recipe, tmp_path, recorder := Recorder())
    assert min(recorder.losses()) >= 19


def test_checkpoint_of_another_version_is_left_and_refused(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint-old.bak").mkdir()
    write_sealed(tmp_path / "checkpoint-5" / "complete", {"recipe": "0", "seconds": 1.0})
    with pytest.raises(UserError, match=r"checkpoint-5: what it is of cannot be read"):
        train(corpus, model_settings, recipe, tmp_path, Recorder())
    assert (tmp_path / "checkpoint-5").is_dir()


def test_gradient_accumulation_is_one_larger_batch(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    # 99 sequences: the last step has 3, in one forward pass of 8 or in one of 4 and one of none.
    recipe = recipe.model_copy(update={"tokens": 99 * 64})
    whole, _ = train(corpus, model_settings, recipe, tmp_path / "whole", Recorder())
    halves = recipe.model_copy(update={"batch_size": 4, "gradient_accumulation": 2})
    split, _ = train(corpus, model_settings, halves, tmp_path / "split", Recorder())
    # The same sums in another order, 13 AdamW steps of float32 apart.
    assert torch.allclose(weights(whole), weights(split), atol=2e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2 with dropout"])
def test_recomputed_activations_are_the_same(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    tmp_path: Path,
    kind: str,
) -> None:
    if kind != "llama":
        model_settings = GPT2
    plain, _ = train(corpus, model_settings, recipe, tmp_path / "plain", first := Recorder())
    recipe = recipe.model_copy(update={"gradient_checkpointing": True})
    again, _ = train(corpus, model_settings, recipe, tmp_path / "again", second := Recorder())
    assert again.is_activation_checkpointing and not plain.is_activation_checkpointing
    assert second.losses() == pytest.approx(first.losses(), rel=1e-6)
    torch.testing.assert_close(weights(again), weights(plain), atol=1e-6, rtol=0)


def test_divergence_fails_the_trial(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    wild = recipe.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrialError, match=r"training: the loss is (nan|inf) at step \d+"):
        train(corpus, model_settings, wild, tmp_path, Recorder())


def test_clock_that_is_set_back_removes_no_checkpoint(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    """What was written before has times of the future."""
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})

    def log(_: Mapping[str, float], step: int) -> None:
        for number, path in enumerate(tmp_path.glob("checkpoint-*")):
            if path.stat().st_mtime < time.time() + 1800:
                os.utime(path, (time.time() + 3600 + number,) * 2)

    train(corpus, model_settings, recipe, tmp_path, Mock(log=log))
    assert sorted(path.name for path in tmp_path.glob("*/complete")) == ["complete"] * 2
    assert {path.parent.name for path in tmp_path.glob("*/complete")} == {
        "checkpoint-30",
        "checkpoint-31",
    }
