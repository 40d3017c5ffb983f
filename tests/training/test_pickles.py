"""Checkpoints are read as data: what somebody has planted in one is not run."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from admire_pipeline.errors import UserError
from admire_pipeline.integrity import checksums, read_sealed, write_sealed
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.settings import ModelSettings, TrainingSettings
from admire_pipeline.training.weights import COMPLETE
from tests.training.test_trainer import Killed, Recorder, train

READ = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin")
"""In formats that can hold code; the last only where the safetensors are gone."""
NOT_READ = ("training_args.bin", "optimizer.bin", "pytorch_model.bin", "adapter_model.bin")


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self._trace),)


def plant(path: Path, planted: Planted, form: str) -> None:
    """As pickled by hand, or within torch's own format."""
    if form == "pickle":
        path.write_bytes(pickle.dumps(planted, protocol=2))
    else:
        torch.save({"state": planted}, path)


def seal(checkpoint: Path) -> None:
    """Let the checksums, which whoever plants something can write too, be those of the files."""
    mark = checkpoint / COMPLETE
    names = sorted(path.name for path in checkpoint.iterdir() if path != mark)
    write_sealed(mark, {**read_sealed(mark), "files": checksums(checkpoint, names)})


def trigger(path: Path) -> None:
    pickle.loads(path.read_bytes())  # noqa: S301


@pytest.fixture
def cut(
    corpus: Corpus, model_settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> Path:
    """The last checkpoint of a training that was killed."""
    often = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(Killed):
        train(corpus, model_settings, often, tmp_path / "cut", Recorder(die_at=20))
    first, last = sorted((tmp_path / "cut").iterdir(), key=lambda path: int(path.name[11:]))
    shutil.rmtree(first)
    return last


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("name", READ)
def test_what_is_planted_in_a_checkpoint_is_refused(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    cut: Path,
    tmp_path: Path,
    name: str,
    form: str,
) -> None:
    trace = tmp_path / "trace"
    plant(cut / name, Planted(trace), form)
    if name == "pytorch_model.bin":
        (cut / "model.safetensors").unlink()
    seal(cut)
    with pytest.raises(UserError, match=rf"{cut.name}: it holds more than .* allowed: ") as caught:
        train(corpus, model_settings, recipe, cut.parent, Recorder())
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    torch.load(cut / name, weights_only=False) if form == "torch" else trigger(cut / name)
    assert trace.exists(), "it would have worked"


def test_what_is_planted_beside_a_checkpoint_is_not_read(
    corpus: Corpus,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    cut: Path,
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    for name in NOT_READ:
        plant(cut / name, Planted(trace), "torch")
    seal(cut)
    _, run = train(corpus, model_settings, recipe, cut.parent, recorder := Recorder())
    assert min(recorder.losses()) >= 20 and run.tokens == 16384
    assert not trace.exists()
