"""Tasks and groups of the harness, here from YAML and data of the test's own: without the Hub."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks import TaskManager

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness import tasks
from admire_pipeline.training.harness.model import SharedLM, wrap_model
from admire_pipeline.training.harness.run import run_task
from admire_pipeline.training.harness.tasks import build_task
from admire_pipeline.training.run import load_model
from admire_pipeline.training.settings import TaskSettings
from tests.training.harness.test_questions import choice, write


@pytest.fixture(scope="module")
def lm(bigram_model: Path) -> SharedLM:
    return wrap_model(load_model(bigram_model), "byt5", batch_size=3)


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


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the only tasks there are: two, and the group of both."""
    add_task(tmp_path, "one", right=3, wrong=1)
    add_task(tmp_path, "two", right=0, wrong=2, num_fewshot=0)
    means = [{"metric": "acc", "weight_by_size": True}]
    group = {"group": "both", "task": ["one", "two"], "aggregate_metric_list": means}
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(group))

    def known_tasks() -> TaskManager:
        return TaskManager(include_path=str(tmp_path), include_defaults=False)

    monkeypatch.setattr(tasks, "known_tasks", known_tasks)
    return tmp_path


def test_a_task_by_name(index: Path, lm: SharedLM) -> None:
    metric, results = run_task("mine", TaskSettings(task="one", metric="acc"), lm, chat=False)
    assert (metric.name, metric.value, metric.documents) == ("acc.mine", 0.75, 4)
    assert metric.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 3))
    assert results["versions"] == {"one": 1.0}


def test_a_group_is_the_mean_over_its_questions(index: Path, lm: SharedLM) -> None:
    metric, results = run_task("mine", TaskSettings(task="both", metric="acc"), lm, chat=False)
    assert (metric.value, metric.documents) == (3 / 6, 6)
    assert 0 < metric.standard_error < 0.5
    assert results["results"]["two"]["acc,none"] == 0.0


def test_examples_that_a_task_would_ignore(index: Path, lm: SharedLM) -> None:
    for name in ("two", "both"):
        task = TaskSettings(task=name, metric="acc", few_shot=1)
        with pytest.raises(UserError, match=r"mine\.few_shot: 1 examples for 'two', which takes"):
            run_task("mine", task, lm, chat=False)


@pytest.mark.parametrize(
    "splits",
    [{}, {"fewshot_split": "asked"}, {"validation_split": None, "test_split": "asked"}],
)
def test_examples_of_the_split_that_is_asked(index: Path, splits: dict[str, str | None]) -> None:
    """The harness leaves the question out only where the test's split is named as the examples'."""
    add_task(index, "leaky", right=2, wrong=2, **splits)
    task = build_task("mine", TaskSettings(task="leaky", metric="acc", few_shot=3), "t", len)
    task.set_config(key="num_fewshot", value=3)
    task.set_fewshot_seed(0)
    task.build_all_requests()
    assert len(task.instances) == 4 * 2
    for instance in task.instances:
        assert instance.args[0].count(instance.doc["question"]) == 1
