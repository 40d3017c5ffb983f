"""What tasks of lm-evaluation-harness say of themselves, read without data or code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """A metric of a task or a group.

    Attributes:
        higher_is_better: None where it does not say so.
        filters: Filters of the answers after which it is measured; empty where only code knows.
    """

    higher_is_better: bool | None
    filters: tuple[str, ...]


def find_leaves(item: str | Config, index: Mapping[str, Any]) -> Iterator[Config]:
    """Configs of all tasks that an item stands for, as the harness' `TaskFactory` finds them.

    Args:
        item: A name, or a member of a group that changes settings of what it names.
        index: Entries by name, as of the harness' `TaskManager.task_index`.
    """
    changes = {} if isinstance(item, str) else {k: v for k, v in item.items() if k != "group"}
    name = item if isinstance(item, str) else item.get("group", item.get("task"))
    entry = index.get(name) if isinstance(name, str) else None
    if entry is not None and entry.cfg is None:
        for member in sorted(entry.tags):
            yield from find_leaves({**changes, "task": member}, index)
        return
    config = {**changes} if entry is None else {**entry.cfg, **changes, "task": entry.cfg["task"]}
    if isinstance(config.get("task"), list):
        for member in config["task"]:
            yield from find_leaves(member, index)
    else:
        yield config


def declared_metrics(config: Config, leaves: list[Config]) -> dict[str, Declared] | None:
    """Metrics by name; None where only a task's code knows them.

    Args:
        config: Of a task or a group.
        leaves: As of `find_leaves`.
    """
    if "group" not in config:
        return _of_task(config)
    means = config.get("aggregate_metric_list") or []
    members = [_of_task(leaf) for leaf in leaves]
    declared = {}
    for mean in [means] if isinstance(means, Mapping) else means:
        known = [part[mean["metric"]] for part in members if part and mean["metric"] in part]
        filters = mean.get("filter_list") or ()
        if not filters and None not in members:
            filters = tuple(dict.fromkeys(each for part in known for each in part.filters))
        declared[mean["metric"]] = Declared(
            known[0].higher_is_better if known else None,
            (filters,) if isinstance(filters, str) else tuple(filters),
        )
    return declared


def generates(config: Config) -> bool:
    """Whether the model writes answers to a task, whose length the harness can set."""
    return "class" not in config and config.get("output_type", "generate_until") == "generate_until"


def takes_examples(config: Config) -> bool:
    """Whether a task makes use of few-shot examples; where not, they are passed over in silence."""
    whole_texts = config.get("output_type") == "loglikelihood_rolling"
    return config.get("num_fewshot") != 0 and not whole_texts


def _of_task(config: Config) -> dict[str, Declared] | None:
    from lm_eval.api.registry import (
        DEFAULT_METRIC_REGISTRY,
        METRIC_REGISTRY,
        is_higher_better,
    )

    if "class" in config:
        return None
    listed = config.get("metric_list")
    if listed is None:
        default = DEFAULT_METRIC_REGISTRY[config.get("output_type", "generate_until")]
        listed = [{"metric": metric} for metric in default]
    # A function of the task's own may measure several things under names of its own.
    own = any(each["metric"] not in METRIC_REGISTRY for each in listed)
    if own and config.get("process_results") is None:
        return None
    filters = tuple(each["name"] for each in config.get("filter_list") or [{"name": "none"}])
    better = {m: is_higher_better(m) for each in listed if (m := each["metric"]) in METRIC_REGISTRY}
    return {
        metric: Declared(each.get("higher_is_better", better.get(metric)), filters)
        for each in listed
        for metric in [each["metric"]]
    }
