"""Tasks checked before the first training of a campaign, as far as that needs no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admire_pipeline.errors import UserError, suggest, suggest_nearest
from admire_pipeline.training.corpus.tokenizer import BYTES
from admire_pipeline.training.harness.questions import read_questions
from admire_pipeline.training.objective import LOSSES
from admire_pipeline.training.settings import EvaluationSettings, TaskSettings

OWN_METRICS = {"multiple_choice": ("acc", "acc_norm"), "generation": ("exact_match",)}
"""What a task of the user's own can measure: share of right answers, for `acc_norm` by likelihood
per character; share of answers that are the right one word for word."""


def check_tasks(evaluation: EvaluationSettings, tokenizer: str) -> None:
    """Check names, metrics, filters and few-shot counts of all tasks, and the questions of files.

    Args:
        evaluation: Its tasks.
        tokenizer: The corpus'.

    Raises:
        UserError: One line about the first fault.
    """
    for name, task in evaluation.tasks.items():
        key = f"evaluation.tasks.{name}"
        if task.path is not None:
            read_questions(task, key)
            _one_of(task.metric, OWN_METRICS[str(task.kind)], f"{key}.metric")
            _one_of(task.filter, ("none",), f"{key}.filter")
        else:
            _check_known(task, key)
    if evaluation.tasks and evaluation.chat:
        _check_chat(tokenizer)


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
    config: Mapping[str, Any] = entry.cfg or {}
    if config.get("unsafe_code"):
        raise UserError(
            f"{key}.task: {name!r} runs code that the model writes; allowed: a task that does not"
        )
    if task.few_shot and config.get("num_fewshot") == 0:
        raise UserError(
            f"{key}.few_shot: {task.few_shot} examples for {name!r}, which takes none; allowed: 0"
        )
    metrics = _declared(config)
    if metrics is None:
        return
    if not metrics:
        raise UserError(
            f"{key}.task: {name!r} is a group without a mean; allowed: its tasks, one by one"
        )
    _one_of(task.metric, metrics, f"{key}.metric")
    check_direction(task.metric, metrics[task.metric], f"{key}.metric")
    if "group" not in config:
        filters = [each["name"] for each in config.get("filter_list") or [{"name": "none"}]]
        _one_of(task.filter, filters, f"{key}.filter")


def _declared(config: Mapping[str, Any]) -> dict[str, bool | None] | None:
    """A task's metrics, and whether more of each is better where it says so.

    None where only its code knows.
    """
    from lm_eval.api.registry import (  # type: ignore[import-untyped]
        DEFAULT_METRIC_REGISTRY,
        METRIC_REGISTRY,
        is_higher_better,
    )

    if "group" in config:
        means = config.get("aggregate_metric_list") or []
        return {each["metric"]: None for each in ([means] if isinstance(means, dict) else means)}
    if "class" in config or config.get("process_results") is not None:
        return None
    listed = config.get("metric_list")
    if listed is None:
        listed = [{"metric": m} for m in DEFAULT_METRIC_REGISTRY[config["output_type"]]]
    if any(each["metric"] not in METRIC_REGISTRY for each in listed):
        return None
    return {
        each["metric"]: each.get("higher_is_better", is_higher_better(each["metric"]))
        for each in listed
    }


def _check_chat(tokenizer: str) -> None:
    if tokenizer != BYTES:
        from admire_pipeline.training.harness.model import load_tokenizer

        if load_tokenizer(tokenizer).chat_template is not None:
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
