"""Turn the trial's mixture into the exact sequences it is trained on."""

from __future__ import annotations

from typing import Any

from admire_pipeline.pipelines.recipes import check_recipe
from admire_pipeline.reporting.figures import Figure, draw_mixture
from admire_pipeline.tracking import Trial
from admire_pipeline.training import dataset, mixing
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.settings import Ladder, MixingSettings


def plan_mixture(
    trial: Trial, corpus: Corpus, fidelities: Ladder, recipes: dict[str, str]
) -> dict[str, Any]:
    """Allot the fidelity's budget of tokens or examples to the domains."""
    check_recipe(trial, recipes)
    training = fidelities[trial.fidelity].training
    plan = mixing.plan_mixture(
        trial.mixture,
        training.draws,
        training.sequence_length,
        corpus,
        trial.seed,
        training.unit,
    )
    return plan.to_dict()


def sample_texts(mixing_plan: dict[str, Any], corpus: Corpus, settings: MixingSettings) -> str:
    """Show what is trained on."""
    plan = mixing.MixingPlan.from_dict(mixing_plan)
    return dataset.sample_texts(plan, corpus, settings.samples, settings.sample_characters)


def plot_mixture(trial: Trial, mixing_plan: dict[str, Any]) -> Figure:
    """Draw the mixture, with the epochs of each domain."""
    plan = mixing.MixingPlan.from_dict(mixing_plan)
    return draw_mixture(trial.name, {d.domain: (d.weight, d.epochs) for d in plan.domains})
