"""Tasks checked before a training: by the config, by their files, and by building them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from admire_pipeline.errors import UserError, suggest, suggest_nearest
from admire_pipeline.training.corpus.tokenizer import BYTES
from admire_pipeline.training.harness.declared import (
    declared_metrics,
    find_leaves,
    generates,
    takes_examples,
)
from admire_pipeline.training.harness.questions import read_questions
from admire_pipeline.training.objective import LOSSES
from admire_pipeline.training.settings import EvaluationSettings, TaskSettings

logger = logging.getLogger(__name__)

OWN_METRICS = {"multiple_choice": ("acc", "acc_norm"), "generation": ("exact_match",)}
"""What a task of the user's own can measure: share of right answers, for `acc_norm` by likelihood
per character; share of answers that are the right one word for word."""


def check_names(evaluation: EvaluationSettings) -> None:
    """Check what is known of the tasks without any data: names, metrics, filters, lengths.

    Raises:
        UserError: One line about the first fault.
    """
    for name, task in evaluation.tasks.items():
        key = f"evaluation.tasks.{name}"
        if task.path is not None:
            _one_of(task.metric, OWN_METRICS[str(task.kind)], f"{key}.metric")
            _one_of(task.filter, ("none",), f"{key}.filter")
            _check_length(task, task.kind == "generation", key)
        else:
            _check_known(task, key)


def check_questions(evaluation: EvaluationSettings, tokenizer: str) -> None:
    """Check the questions of files, and that they can be asked as a chat where they shall be.

    Args:
        evaluation: Its tasks, with paths as seen from here.
        tokenizer: The corpus'.

    Raises:
        UserError: One line about the first fault.
    """
    for name, task in evaluation.tasks.items():
        if task.path is not None:
            read_questions(task, f"evaluation.tasks.{name}")
    if evaluation.tasks and evaluation.chat:
        _check_chat(tokenizer)


def check_data(evaluation: EvaluationSettings, tokenizer: str, room: int | None) -> None:
    """Build each task as an evaluation will, once in a process.

    What is fetched stays in the cache of `datasets`.

    Args:
        evaluation: Its tasks, with paths as seen from here.
        tokenizer: The corpus'.
        room: Tokens that the models take, the shortest of them; None: as many as there are.

    Raises:
        UserError: If a task's packages or data are missing, its examples are too few, or its
            answers leave a model no room for a question.
    """
    for name, task in evaluation.tasks.items():
        _try_task(name, task, tokenizer, room)


@cache
def _try_task(name: str, task: TaskSettings, tokenizer: str, room: int | None) -> None:
    from admire_pipeline.training.harness.model import load_tokenizer
    from admire_pipeline.training.harness.tasks import build_task, longest_answer

    key = f"evaluation.tasks.{name}"
    logger.info("%s: looking for its data", key)
    known = load_tokenizer(tokenizer)
    built = build_task(name, task, key, lambda text: len(known.encode(text)))
    longest = task.max_tokens or longest_answer(built)
    if room is not None and longest >= room:
        raise UserError(
            f"{key}: its answers may have {longest} tokens, which leaves no room for a question in "
            f"the {room} that a model takes; allowed: max_tokens below that, or another task"
        )


def check_direction(metric: str, higher_is_better: bool | None, key: str) -> None:
    """Check that the score and the harness agree on whether more of a metric is better.

    Raises:
        UserError: If they do not.
    """
    if higher_is_better is not None and higher_is_better == (metric in LOSSES):
        better = "more" if higher_is_better else "less"
        raise UserError(
            f"{key}: of {metric!r} {better} is better in this task, and the score takes it the "
            "other way; allowed: another metric"
        )


def _check_known(task: TaskSettings, key: str) -> None:
    from admire_pipeline.training.harness.tasks import known_tasks

    index = known_tasks().task_index
    name = str(task.task)
    if name not in index:
        raise UserError(f"{key}.task: unknown {name!r}; {_nearest(name, index)}")
    entry = index[name]
    if entry.tags and entry.cfg is None:
        members = ", ".join(sorted(entry.tags))
        raise UserError(f"{key}.task: {name!r} is a name of several tasks; allowed: {members}")
    leaves = list(find_leaves(name, index))
    if any(leaf.get("unsafe_code") for leaf in leaves):
        raise UserError(
            f"{key}.task: {name!r} runs code that the model writes; allowed: a task that does not"
        )
    measured = [metric for leaf in leaves for metric in leaf.get("metric_list") or ()]
    if any(metric.get("hf_evaluate") for metric in measured):
        raise UserError(
            f"{key}.task: {name!r} measures by code that is fetched from the Hub, which is never "
            "run; allowed: another task"
        )
    for leaf in leaves if task.few_shot else ():
        if not takes_examples(leaf):
            raise UserError(
                f"{key}.few_shot: {task.few_shot} examples for {leaf['task']!r}, which takes none; "
                "allowed: 0"
            )
    _check_length(task, any(map(generates, leaves)), key)
    metrics = declared_metrics(entry.cfg, leaves)
    if metrics is None:
        return
    if not metrics:
        raise UserError(
            f"{key}.task: {name!r} is a group without a mean; allowed: its tasks, one by one"
        )
    _one_of(task.metric, metrics, f"{key}.metric")
    declared = metrics[task.metric]
    check_direction(task.metric, declared.higher_is_better, f"{key}.metric")
    if declared.filters:
        _one_of(task.filter, declared.filters, f"{key}.filter")


def _check_length(task: TaskSettings, written: bool, key: str) -> None:
    if task.max_tokens is not None and not written:
        raise UserError(
            f"{key}.max_tokens: {task.max_tokens} for a task whose answers are not written, or to "
            "a length of its own; allowed: null"
        )


def _check_chat(tokenizer: str) -> None:
    if tokenizer != BYTES:
        from admire_pipeline.training.harness.model import find_turn_end, load_tokenizer

        if load_tokenizer(tokenizer).chat_template is not None:
            find_turn_end(tokenizer)
            return
    raise UserError(
        f"evaluation.chat: corpus.tokenizer={tokenizer!r} has no chat template; allowed: false, or "
        "a tokenizer with one"
    )


def _one_of(value: str, allowed: Any, key: str) -> None:
    if value not in allowed:
        raise UserError(f"{key}: {value!r} is not allowed; {suggest(value, allowed)}")


def _nearest(name: str, index: Mapping[str, Any]) -> str:
    return f"{suggest_nearest(name, index)}allowed: a task of lm-evaluation-harness"
