"""What benchmark tasks are made of, by lm-evaluation-harness' own index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.training.settings import EvaluationSettings
from admire_pipeline.training.task_data import need_tasks
from tests.training.test_available import COMMIT, download


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path / "hub"


def needs(root: Path, **tasks: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    evaluation = EvaluationSettings.model_validate(
        {"batch_size": 1, "max_bytes": 1, "curve_bytes": 1}
        | {"tasks": {name: {"metric": "acc", **task} for name, task in tasks.items()}}
    )
    return {need.what: (need.source, need.found) for need in need_tasks(evaluation, root)}


def test_a_task_of_the_users(tmp_path: Path) -> None:
    task = {"path": "exam.jsonl", "kind": "multiple_choice"}
    assert needs(tmp_path, exam=task) == {"task exam": ("exam.jsonl", False)}
    (tmp_path / "exam.jsonl").touch()
    assert needs(tmp_path, exam=task) == {"task exam": ("exam.jsonl", True)}


@pytest.mark.slow
def test_tasks_of_the_harness(tmp_path: Path, hub: Path) -> None:
    """Slow: the harness reads the config of every task that it has."""
    names = {
        "plain": "arc_easy",
        "group": "mmlu",  # of groups, of 57 tasks
        "tag": "ai2_arc",
        "inline": "minerva_math",
        "code": "squadv2",  # names no dataset
        "nowhere": "no_such_task",
    }

    def found() -> dict[str, tuple[str, bool]]:
        return needs(tmp_path, **{name: {"task": task} for name, task in names.items()})

    assert found() == {
        "task plain": ("allenai/ai2_arc", False),
        "task group": ("cais/mmlu", False),
        "task tag": ("allenai/ai2_arc", False),
        "task inline": ("EleutherAI/hendrycks_math", False),
    }
    download(hub, "datasets--allenai--ai2_arc", "README.md")
    assert not found()["task plain"][1]
    download(hub, "datasets--allenai--ai2_arc", "ARC-Easy/test.parquet")
    (tmp_path / "datasets" / "cais___mmlu" / "all").mkdir(parents=True)
    assert {name: there for name, (_, there) in found().items()} == {
        "task plain": True,
        "task group": True,
        "task tag": True,
        "task inline": False,
    }


@pytest.mark.slow
def test_a_pinned_task_needs_that_commit(tmp_path: Path, hub: Path) -> None:
    download(hub, "datasets--allenai--ai2_arc", "ARC-Easy/test.parquet")

    def need(revision: str) -> tuple[str | None, bool]:
        task = {"task": "arc_easy", "metric": "acc", "revision": revision}
        evaluation = EvaluationSettings.model_validate(
            {"batch_size": 1, "max_bytes": 1, "curve_bytes": 1, "tasks": {"arc": task}}
        )
        (found,) = need_tasks(evaluation, tmp_path)
        return found.revision, found.found

    other = "f" * 40
    assert need(COMMIT) == (COMMIT, True)
    assert need(other) == (other, False)
    prepared = tmp_path / "datasets" / "allenai___ai2_arc" / "ARC-Easy" / "0.0.0"
    (prepared / COMMIT).mkdir(parents=True)
    assert need(other) == (other, False)
    (prepared / other).mkdir()
    assert need(other) == (other, True)
