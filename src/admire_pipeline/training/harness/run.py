"""One task of lm-evaluation-harness on one model."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.harness.check import check_direction
from admire_pipeline.training.harness.guard import no_hub_code
from admire_pipeline.training.harness.model import SharedLM
from admire_pipeline.training.harness.quiet import quiet
from admire_pipeline.training.harness.tasks import build_task, dataset_states
from admire_pipeline.training.objective import Metric
from admire_pipeline.training.processes import agree
from admire_pipeline.training.settings import TaskSettings

BOOTSTRAP = 1000
"""Resamples behind the standard error of a metric that is no mean, as f1; the harness takes 100 at
most of those that are slow, as bleu."""

KEPT = (
    "results",
    "groups",
    "group_subtasks",
    "configs",
    "versions",
    "n-shot",
    "higher_is_better",
    "n-samples",
)
"""Of the harness' results; the others describe the machine."""


def run_task(name: str, task: TaskSettings, lm: SharedLM, chat: bool) -> tuple[Metric, Any]:
    """Ask a model all questions of a task.

    Args:
        name: Of the task, ours.
        task: What is asked and what counts.
        lm: The model.
        chat: Ask through the tokenizer's chat template.

    Returns:
        The metric that counts, and the harness' whole results with the state of each task's data
        (`dataset_states`), JSON-able.

    Raises:
        UserError: If the data cannot be read, the task has no such metric, or the harness fails.
    """
    key = f"evaluation.tasks.{name}"
    # Its worker processes would be forked from this one, which may hold a GPU.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    built = build_task(name, task, key, lambda text: len(lm.tok_encode(text)))
    states = dataset_states(built)
    with quiet(), redirect_stdout(io.StringIO()), no_hub_code(key):
        try:
            results = simple_evaluate(
                model=lm,
                tasks=[built],
                num_fewshot=task.few_shot,
                batch_size=lm.batch_size,
                limit=task.limit,
                gen_kwargs=None if task.max_tokens is None else {"max_gen_toks": task.max_tokens},
                bootstrap_iters=BOOTSTRAP,
                apply_chat_template=chat,
                log_samples=False,
                task_manager=TaskManager(include_defaults=False),  # nothing is left to look up
            )
        except Exception as error:
            raise UserError(
                f"{key}: lm-evaluation-harness failed ({type(error).__name__}: {one_line(error)}); "
                "allowed: a task that it can run on this model"
            ) from error
    # One process of each machine has results.
    kept = {key: value for key, value in (results or {}).items() if key in KEPT}
    kept["datasets"] = states
    kept = agree(json.loads(json.dumps(kept, default=str)))
    return read_metric(kept, name, task), kept


def read_metric(results: Mapping[str, Any], name: str, task: TaskSettings) -> Metric:
    """The metric that counts, from the harness' results.

    Args:
        results: As of `run_task`.
        name: Of the task, ours.
        task: Which metric and filter count.

    Raises:
        UserError: If they are not among the results, or the score would take a loss for a gain.
    """
    key, known = f"evaluation.tasks.{name}", task.task or name
    measured = results["results"][known]
    if (wanted := f"{task.metric},{task.filter}") not in measured:
        found = [each for each in measured if "," in each and "_stderr," not in each]
        raise UserError(
            f"{key}: {known!r} has no metric and filter {wanted!r}; {suggest(wanted, found)}"
        )
    check_direction(
        task.metric, results["higher_is_better"].get(known, {}).get(task.metric), f"{key}.metric"
    )
    error = measured.get(f"{task.metric}_stderr,{task.filter}")
    return Metric(
        name=f"{task.metric}.{name}",
        value=float(measured[wanted]),
        standard_error=float(error) if isinstance(error, int | float) else math.nan,
        documents=sum(count["effective"] for count in results["n-samples"].values()),
        bytes=None,
    )
