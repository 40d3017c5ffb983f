from __future__ import annotations

import os
from pathlib import Path

import pytest

from admire_pipeline.training.weights import remove_weights

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
