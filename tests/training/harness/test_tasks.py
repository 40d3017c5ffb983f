"""Tasks and groups of the harness, here from YAML and data of the test's own: without the Hub."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.check import check_data, check_names
from admire_pipeline.training.harness.model import SharedLM, wrap_model
from admire_pipeline.training.harness.run import run_task
from admire_pipeline.training.harness.tasks import build_task
from admire_pipeline.training.run import load_model
from admire_pipeline.training.settings import TaskSettings
from tests.hub import Hub
from tests.training.harness.index import add_task, use_index, write_index
from tests.training.harness.test_check import settings
from tests.training.harness.test_questions import choice


@pytest.fixture(scope="module")
def lm(bigram_model: Path) -> SharedLM:
    return wrap_model(load_model(bigram_model), "byt5", batch_size=3)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the only tasks there are: two, and the group of both."""
    write_index(tmp_path)
    use_index(tmp_path, monkeypatch)
    return tmp_path


def test_a_task_by_name(index: Path, lm: SharedLM) -> None:
    metric, results = run_task("mine", TaskSettings(task="one", metric="acc"), lm, chat=False)
    assert (metric.name, metric.value, metric.documents) == ("acc.mine", 0.75, 4)
    assert metric.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 3))
    assert results["versions"] == {"one": 1.0}
    assert results["datasets"]["one"]["path"] == "json"
    assert len(results["datasets"]["one"]["fingerprint"]) == 16


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


def asks(name: str, few_shot: int) -> None:
    """Checked as before a trial."""
    task = {"task": name, "metric": "acc", "few_shot": few_shot}
    check_names(settings({"mine": task}))
    check_data(settings({"mine": task}), "byt5", None)


EXAMPLES = [choice(f"example {i}?") for i in range(3)]
WRITTEN = {"sampler": "first_n", "samples": EXAMPLES}


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({}, 3),  # of four, the question left out
        ({"fewshot_config": {"sampler": "first_n"}}, 3),
        ({"fewshot_config": WRITTEN}, 3),
        ({"fewshot_config": WRITTEN, "validation_split": None, "test_split": "asked"}, 3),
        ({"fewshot_config": {"samples": EXAMPLES}}, 2),  # the harness draws one more than it needs
        ({"fewshot_config": WRITTEN | {"split": "asked"}}, 3),
    ],
)
def test_more_examples_than_there_are(index: Path, config: dict, most: int, lm: SharedLM) -> None:
    """What is allowed can be asked, and one more could not."""
    add_task(index, "few", right=2, wrong=2, **config)
    asks("few", most)
    run_task("mine", TaskSettings(task="few", metric="acc", few_shot=most), lm, chat=False)
    with pytest.raises(UserError, match=rf"mine\.few_shot: .* has {most}; allowed: 0 to {most}$"):
        asks("few", most + 1)


def test_what_a_task_in_code_does_not_measure(index: Path) -> None:
    (index / "code.py").write_text(
        "from lm_eval.api.task import ConfigurableTask\n\n\n"
        "class Code(ConfigurableTask):\n"
        "    def __init__(self, config=None):\n"
        "        super().__init__(config={k: v for k, v in config.items() if k != 'class'})\n"
    )
    add_task(index, "coded", right=1, wrong=1)
    path = index / "coded.yaml"
    path.write_text(path.read_text() + "class: !function code.Code\n")
    for metric, fault in (("acc", None), ("f1", r"mine\.metric: 'f1' is not .*allowed: acc$")):
        evaluation = settings({"mine": {"task": "coded", "metric": metric}})
        check_names(evaluation)
        if fault is None:
            check_data(evaluation, "byt5", None)
            continue
        with pytest.raises(UserError, match=fault):
            check_data(evaluation, "byt5", None)


def test_a_package_that_is_missing(index: Path) -> None:
    (index / "utils.py").write_text("import unheard_of\n")
    path = index / "one.yaml"
    path.write_text(path.read_text() + "process_results: !function utils.score\n")
    with pytest.raises(
        UserError,
        match=r"^evaluation\.tasks\.mine\.task: 'one' needs a package .*pip install unheard_of$",
    ):
        asks("one", 0)


def test_a_task_is_built_once(index: Path) -> None:
    asks("one", 1)
    (index / "one.yaml").unlink()
    check_data(settings({"mine": {"task": "one", "metric": "acc", "few_shot": 1}}), "byt5", None)
    with pytest.raises(UserError, match=r"mine\.task: the data of 'one' cannot be read"):
        check_data(
            settings({"mine": {"task": "one", "metric": "acc", "few_shot": 2}}), "byt5", None
        )


CODE = """
import json, sys
from admire_pipeline.training.harness.tasks import build_task, dataset_states
from admire_pipeline.training.settings import TaskSettings
from tests.training.harness.index import use_index
import pytest

with pytest.MonkeyPatch.context() as patch:
    use_index(sys.argv[1], patch)
    settings = TaskSettings(task="t", metric="acc", revision=sys.argv[2] or None)
    task = build_task("t", settings, "t", len)
print(json.dumps(dataset_states(task)))
"""


@pytest.mark.parametrize("pinned", [False, True])
def test_the_commit_of_a_hub_dataset_is_told(pinned: bool, tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub takes its endpoint when it is imported."""
    add_task(
        tmp_path, "t", 1, 1, dataset_path="me/quiz", dataset_kwargs={}, validation_split="test"
    )
    served = Hub()
    first = served.push("datasets", "me/quiz", {"test.jsonl": json.dumps(choice("?")).encode()})
    last = served.push("datasets", "me/quiz", {"test.jsonl": json.dumps(choice("!")).encode()})
    with served.serving():
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(tmp_path), first if pinned else ""],
            env={**os.environ, "HF_ENDPOINT": served.endpoint, "HF_HOME": str(tmp_path / "hf")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    commit = first if pinned else last
    assert json.loads(done.stdout) == {"t": {"path": "me/quiz", "commit": commit}}
