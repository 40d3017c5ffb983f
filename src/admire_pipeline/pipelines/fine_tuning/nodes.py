"""Train the trial's model, from a config or from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from admire_pipeline.pipelines.recipes import check_recipe
from admire_pipeline.reporting.figures import Figure, draw_curves
from admire_pipeline.tracking import Trial
from admire_pipeline.training import launch
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.settings import EvaluationSettings, Ladder


def train_model(  # noqa: PLR0913, PLR0917 - a node's inputs
    trial: Trial,
    mixing_plan: dict[str, Any],
    corpus: Corpus,
    trial_folder: Path,
    log_curves: Callable[[Mapping[str, float], int], None],
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    recipes: dict[str, str],
    project_folder: Path,
) -> dict[str, Any]:
    """Train on the planned sequences; a finished training is not repeated, a killed one resumed."""
    check_recipe(trial, recipes)
    return launch.train(
        fidelities[trial.fidelity],
        mixing_plan,
        corpus,
        trial_folder,
        trial.seed,
        evaluation,
        log_curves,
        project_folder,
    )


def plot_curves(trial: Trial, training_run: dict[str, Any]) -> Figure:
    """Draw the loss curves."""
    return draw_curves(trial.name, training_run["curves"])
