"""What a trial was proposed for must be what is configured, at every stage of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kedro.pipeline import Node

from admire_pipeline.errors import UserError
from admire_pipeline.tracking import Trial
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.harness.questions import questions_hash
from admire_pipeline.training.objective import ObjectiveSettings
from admire_pipeline.training.recipe import recipe_hash
from admire_pipeline.training.settings import EvaluationSettings, Ladder


def hash_recipes(
    corpus: Corpus,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
    project_folder: Path,
) -> dict[str, str]:
    """Hash of the configured recipe per fidelity.

    Raises:
        UserError: If the questions of a task of the user's own cannot be used.
    """
    questions = questions_hash(evaluation.located(project_folder))
    return {
        name: recipe_hash(corpus, fidelity, evaluation, objective, questions)
        for name, fidelity in fidelities.root.items()
    }


def check_recipe(trial: Trial, recipes: Mapping[str, str]) -> None:
    """Check that a trial was proposed under the configured recipe.

    Raises:
        UserError: If it was not: its score would not compare with others.
    """
    if trial.fidelity not in recipes:
        raise UserError(
            f"campaign.name: its trial {trial.name} is at fidelity {trial.fidelity!r}, the config "
            f"has {list(recipes)}; allowed: the same, or a new campaign.name"
        )
    if trial.recipe != recipes[trial.fidelity]:
        raise UserError(
            f"campaign.name: its trial {trial.name} was made with other text, another recipe of "
            f"{trial.fidelity!r}, evaluation or objective than configured; allowed: the same, or a "
            "new campaign.name (`kedro admire abandon` gives up an open trial)"
        )


def recipes_node() -> Node:
    """The node that every stage begins with; in a whole step it stands once."""
    return Node(
        hash_recipes,
        inputs=[
            "corpus",
            "params:fidelities",
            "params:evaluation",
            "params:objective",
            "project_folder",
        ],
        outputs="recipes",
        name="hash_recipes",
    )
