"""Tasks as lm-evaluation-harness runs them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.group import Group
from lm_eval.api.samplers import FirstNSampler
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.training.corpus.errors import WHO_ASKS, one_line
from admire_pipeline.training.harness.guard import no_hub_code
from admire_pipeline.training.harness.missing import missing_package
from admire_pipeline.training.harness.pin import pinned
from admire_pipeline.training.harness.questions import read_questions
from admire_pipeline.training.harness.quiet import quiet
from admire_pipeline.training.settings import TaskSettings

SPLIT = "questions"
"""The one split of a task of the user's own: examples come from it too, the question left out."""

ROOM = 8
"""Tokens that a model may write beyond the longest answer, so that a longer one tells."""

DEFAULT_LENGTH = 256
"""Tokens of an answer where a task says nothing (`HFLM.max_gen_toks`)."""

COMMIT = re.compile("[0-9a-f]{40}")


@lru_cache(maxsize=1)
def known_tasks() -> TaskManager:
    """The index of the harness' own tasks; reading it takes some seconds."""
    return TaskManager()


def build_task(
    name: str, task: TaskSettings, key: str, count_tokens: Callable[[str], int]
) -> Task | Group:
    """The task with its data.

    Args:
        name: Ours.
        task: What it is.
        key: Where it stands in the config, for messages.
        count_tokens: Length of a text for the model.

    Raises:
        UserError: If a package or the data is missing, the few-shot examples are too few, a task in
            code does not measure the metric, or one would run code of the Hub.
    """
    with quiet(), redirect_stdout(io.StringIO()), no_hub_code(key):
        if task.path is not None:
            return _own_task(name, task, key, count_tokens)
        return _known_task(task, key)


def dataset_states(built: Task | Group) -> dict[str, dict[str, str]]:
    """What of its dataset each task was asked from.

    Args:
        built: A task or a group.

    Returns:
        By name of the task its dataset's `path`, and the Hub's `commit` of it, or the
        `fingerprint` that `datasets` gives its content and history. Questions of the user's own are
        left out: they are recorded by their hash, in the trial's recipe.
    """
    states = {}
    for task in _members(built):
        if not task.DATASET_PATH:
            continue
        splits = task.dataset.values() if isinstance(task.dataset, dict) else [task.dataset]
        split = next(iter(splits), None)
        known = _state(split) if isinstance(split, Dataset) else {}
        states[task.task_name] = {"path": task.DATASET_PATH, **known}
    return states


def longest_answer(built: Task | Group) -> int:
    """Tokens that a model may write at most; 0 where it writes none."""
    written = [task for task in _members(built) if task.OUTPUT_TYPE == "generate_until"]
    settings = [task.get_config("generation_kwargs") or {} for task in written]
    return max((int(each.get("max_gen_toks", DEFAULT_LENGTH)) for each in settings), default=0)


def _members(built: Task | Group) -> list[Task]:
    return list(built.get_all_tasks()) if isinstance(built, Group) else [built]


def _known_task(task: TaskSettings, key: str) -> Task | Group:
    try:
        with pinned(task.revision):
            loaded = known_tasks().load([task.task])
    except Exception as error:
        raise UserError(f"{key}.task: {_what_lacks(str(task.task), error)}") from error
    for each in loaded["tasks"].values():
        _check_examples(each, task, key)
        _leave_out_the_question(each)
        _check_measured(each, task, key)
    return loaded["groups"].get(task.task) or loaded["tasks"][task.task]


def _state(dataset: Dataset) -> dict[str, str]:
    # The cache of a Hub dataset lies in a folder that is named by its commit.
    for file in dataset.cache_files:
        if COMMIT.fullmatch(commit := Path(file["filename"]).parent.name):
            return {"commit": commit}
    return {"fingerprint": dataset._fingerprint}


def _what_lacks(name: str, error: Exception) -> str:
    if package := missing_package(error):
        return (
            f"{name!r} needs a package that is not installed ({one_line(error)}); allowed: a task "
            f"that needs none, or pip install {package}"
        )
    return (
        f"the data of {name!r} cannot be read ({one_line(error)}); allowed: a task whose data is "
        f"in the Hub's cache or can be fetched (gated data needs a token: {WHO_ASKS}; the same "
        "command goes on)"
    )


def _own_task(
    name: str, task: TaskSettings, key: str, count_tokens: Callable[[str], int]
) -> ConfigurableTask:
    questions = read_questions(task, key)
    kind: dict[str, Any] = {"output_type": "multiple_choice", "doc_to_choice": "choices"}
    if task.kind == "generation":
        answers = [question["answer"] for question in questions]
        kind = {
            "output_type": "generate_until",
            "process_results": _exact_match,
            "generation_kwargs": {
                "until": ["\n\n" if any("\n" in answer for answer in answers) else "\n"],
                "max_gen_toks": max(map(count_tokens, answers)) + ROOM,
                "do_sample": False,
            },
        }
    return ConfigurableTask(
        config={
            "task": name,
            # In memory: the cache of `datasets` would have to notice that a file has changed.
            "custom_dataset": lambda **_: {SPLIT: Dataset.from_list(questions)},
            "test_split": SPLIT,
            "fewshot_split": SPLIT,
            "doc_to_text": "question",
            "doc_to_target": "answer",
            "metric_list": [
                {"metric": task.metric, "aggregation": "mean", "higher_is_better": True}
            ],
            **kind,
        }
    )


def _exact_match(question: dict[str, Any], written: list[str]) -> dict[str, float]:
    return {"exact_match": float(written[0].strip() == question["answer"].strip())}


def _check_examples(task: Task, settings: TaskSettings, key: str) -> None:
    wanted = settings.few_shot
    # The harness would pass over the setting in silence.
    if wanted and task.get_config("num_fewshot") == 0:
        raise UserError(
            f"{key}.few_shot: {wanted} examples for {task.task_name!r}, which takes none; "
            "allowed: 0"
        )
    if wanted and isinstance(task, ConfigurableTask) and wanted > (most := _most_examples(task)):
        raise UserError(
            f"{key}.few_shot: {wanted} examples for {task.task_name!r}, which has {most}; "
            f"allowed: 0 to {most}"
        )


def _most_examples(task: ConfigurableTask) -> int:
    own = _asks_its_examples(task)
    if not isinstance(task.sampler, FirstNSampler):
        # It draws one more than it needs, and leaves out the question, if the splits look alike.
        own |= task.fewshot_cfg.split == task.config.test_split
    return len(task.sampler.df) - own


def _asks_its_examples(task: ConfigurableTask) -> bool:
    """Whether a question may be among the examples: both are of one split."""
    config, examples = task.config, task.fewshot_cfg
    if examples.split is None and examples.samples is not None:
        return False
    # By default the harness draws from the training data, else the validation data, else the test.
    pool = examples.split or config.training_split or config.validation_split or config.test_split
    return bool(pool == (config.test_split or config.validation_split))


def _check_measured(task: Task, settings: TaskSettings, key: str) -> None:
    """Check the metric of a task with code of its own, of which the config says nothing."""
    if type(task) is ConfigurableTask or settings.metric in (known := task.aggregation()):
        return
    raise UserError(
        f"{key}.metric: {settings.metric!r} is not allowed; {suggest(settings.metric, known)}"
    )


def _leave_out_the_question(task: Task) -> None:
    """Draw few-shot examples without the question itself, where both come from one split.

    The harness does so only where the task names that split twice, as the test's and as the
    examples'.
    """
    if isinstance(task, ConfigurableTask) and _asks_its_examples(task):
        task.fewshot_cfg.split = task.config.test_split
