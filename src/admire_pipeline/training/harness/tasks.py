"""Tasks as lm-evaluation-harness runs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from datasets import Dataset
from lm_eval.api.group import Group  # type: ignore[import-untyped]
from lm_eval.api.task import ConfigurableTask, Task  # type: ignore[import-untyped]
from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.harness.questions import read_questions
from admire_pipeline.training.settings import TaskSettings

SPLIT = "questions"
"""The one split of a task of the user's own: examples come from it too, the question left out."""

ROOM = 8
"""Tokens that a model may write beyond the longest answer, so that a longer one tells."""


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
        UserError: If the data cannot be read, or leaves no choice of few-shot examples.
    """
    if task.path is not None:
        return _own_task(name, task, key, count_tokens)
    try:
        loaded = known_tasks().load([task.task])
    except Exception as error:
        raise UserError(
            f"{key}.task: the data of {task.task!r} cannot be read ({one_line(error)}); allowed: a "
            "task whose data is in the Hub's cache or can be fetched (the same command goes on)"
        ) from error
    for each in loaded["tasks"].values():
        _check_examples(each, task, key)
        _leave_out_the_question(each)
    return loaded["groups"].get(task.task) or loaded["tasks"][task.task]


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
    # The harness would pass over the setting in silence.
    if settings.few_shot and task.get_config("num_fewshot") == 0:
        raise UserError(
            f"{key}.few_shot: {settings.few_shot} examples for {task.task_name!r}, which takes "
            "none; allowed: 0"
        )


def _leave_out_the_question(task: Task) -> None:
    """Draw few-shot examples without the question itself, where both come from one split.

    The harness does so only where the task names that split twice, as the test's and as the
    examples'; by default it draws from the training data, else the validation data, else the test.
    """
    if not isinstance(task, ConfigurableTask):
        return
    config, examples = task.config, task.fewshot_cfg
    if examples.split is None and examples.samples is not None:
        return
    pool = examples.split or config.training_split or config.validation_split or config.test_split
    if pool == (config.test_split or config.validation_split):
        examples.split = config.test_split
