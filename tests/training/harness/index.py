"""A little index of tasks in place of the harness' own, with data of the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks import TaskManager

from admire_pipeline.training.harness import check, tasks
from tests.training.harness.test_questions import choice, write


def add_task(folder: Path, name: str, right: int, wrong: int, **config: Any) -> None:
    """A task in which a model that always says `a` is right so often and wrong so often."""
    rows = [choice(f"{name}{i}?", int(i >= right)) for i in range(right + wrong)]
    files = {"asked": str(write(folder / f"{name}.jsonl", rows))}
    whole = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        "output_type": "multiple_choice",
        "validation_split": "asked",
        "doc_to_text": "question",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole | config))


def write_index(folder: Path) -> None:
    """Two tasks, and the group of both."""
    folder.mkdir(parents=True, exist_ok=True)
    add_task(folder, "one", right=3, wrong=1)
    add_task(folder, "two", right=0, wrong=2, num_fewshot=0)
    means = [{"metric": "acc", "weight_by_size": True}]
    group = {"group": "both", "task": ["one", "two"], "aggregate_metric_list": means}
    (folder / "both.yaml").write_text(yaml.safe_dump(group))


def use_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tasks in `folder` the only ones there are, and none of them built before."""

    def known_tasks() -> TaskManager:
        return TaskManager(include_path=str(folder), include_defaults=False)

    monkeypatch.setattr(tasks, "known_tasks", known_tasks)
    check._try_task.cache_clear()
