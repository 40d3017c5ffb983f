from __future__ import annotations

import logging
import os
import random
import shutil
from pathlib import Path

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.integrity import write_sealed
from admire_pipeline.training.weights import (
    check_model,
    finished_run,
    model_hash,
    remove_weights,
)
from tests.damage import KINDS, damage

KEPT = ("score.json", "model/config.json", "model/training_run.json", "evaluation/task.json")
LARGE = (
    "model/model-00001-of-00002.safetensors",
    "model/model-00002-of-00002.safetensors",
    ".model/model.safetensors",
    "checkpoints/checkpoint-3/optimizer.pt",
    "checkpoints/checkpoint-3/shards/0.distcp",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*KEPT, *LARGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_what_is_large_goes_and_the_rest_stays(folder: Path) -> None:
    assert remove_weights(folder) == 50
    assert files(folder) == set(KEPT)
    assert sorted(p.name for p in folder.iterdir()) == ["evaluation", "model", "score.json"]
    assert remove_weights(folder) == 0
    assert remove_weights(folder / "nowhere") == 0


def test_two_workers_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def beaten(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".pt":
            os.unlink(path)  # the other worker
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", beaten)
    assert remove_weights(folder) == 40
    assert files(folder) == set(KEPT)


@pytest.fixture
def model(tmp_path: Path, bigram_model: Path) -> Path:
    return Path(shutil.copytree(bigram_model, tmp_path / "trial" / "model"))


def test_the_hash_of_a_model_is_of_all_that_it_says(model: Path, tmp_path: Path) -> None:
    first = model_hash(model)
    (model / "training_run.json").write_text("{}")
    assert model_hash(model) == first
    shutil.copytree(model, tmp_path / "copy")
    assert model_hash(tmp_path / "copy") == first


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json"])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_model_is_removed(model: Path, name: str, kind: str) -> None:
    expected = model_hash(model)
    check_model(model, expected)
    damage(model / name, kind, random.Random(3))
    with pytest.raises(UserError, match=r"model: it did not hold what the training had left"):
        check_model(model, expected)
    assert not model.exists()


def test_weights_that_are_gone(model: Path) -> None:
    expected = model_hash(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"the trial's weights are not there.*; allowed: "):
        check_model(model, expected)
    assert model.exists()


def test_training_that_has_ended_and_one_whose_end_is_not_known(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial = model.parent
    assert finished_run(trial) is None
    write_sealed(model / "training_run.json", {"seconds": 1.5})
    assert finished_run(trial) == {"seconds": 1.5}
    damage(model / "training_run.json", "flipped", random.Random(3))
    with caplog.at_level(logging.WARNING):
        assert finished_run(trial) is None
    assert "training_run.json does not hold what was written to it" in caplog.text
    assert not model.exists()
