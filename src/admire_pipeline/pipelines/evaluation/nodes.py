"""Evaluate the trial's model and score it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from admire_pipeline.pipelines.recipes import check_recipe
from admire_pipeline.tracking import Trial
from admire_pipeline.training import launch
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.objective import Metric, ObjectiveSettings, score_metrics
from admire_pipeline.training.settings import EvaluationSettings, Ladder


def evaluate_model(  # noqa: PLR0913, PLR0917
    trial: Trial,
    training_run: dict[str, Any],
    corpus: Corpus,
    trial_folder: Path,
    log_metrics: Callable[[Mapping[str, float], int], None],
    project_folder: Path,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    recipes: dict[str, str],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure bits per byte on every validation domain, and every task.

    Returns:
        One row for each metric; lm-evaluation-harness' whole results for each task.
    """
    check_recipe(trial, recipes)
    measured = launch.evaluate(
        fidelities[trial.fidelity],
        training_run,
        corpus,
        trial_folder,
        evaluation,
        project_folder,
    )
    log_metrics({"evaluation_seconds": measured.seconds}, 0)
    return [asdict(metric) for metric in measured.metrics], measured.harness


def score_trial(
    evaluation_table: list[dict[str, Any]], objective: ObjectiveSettings
) -> dict[str, float]:
    """The objective's value and its standard error."""
    metrics = [Metric(**row) for row in evaluation_table]
    return asdict(score_metrics(metrics, objective.weights))
