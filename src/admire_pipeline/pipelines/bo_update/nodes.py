"""Record the trial, update the recommendation, report the step."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

from admire_pipeline.optimizer import recommend
from admire_pipeline.pipelines.recipes import check_recipe
from admire_pipeline.pipelines.search import (
    SearchSettings,
    campaign_space,
    current_costs,
    mixture_by_domain,
    tabulate_trials,
    with_costs,
)
from admire_pipeline.pipelines.warm_start import add_warm_start
from admire_pipeline.tracking import CampaignSettings, Trial, spent
from admire_pipeline.tracking.trial import Observation
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.objective import ObjectiveSettings
from admire_pipeline.training.settings import EvaluationSettings, Ladder

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any  # kedro resolves the annotations of nodes; pandas is slow to import


def record_trial(
    trial: Trial,
    training_run: dict[str, Any],
    evaluation_table: list[dict[str, Any]],
    score: dict[str, float],
    recipes: dict[str, str],
) -> Observation:
    """What the trial has shown: its score, cost, measurements and each metric."""
    check_recipe(trial, recipes)
    metrics = {
        "score": score["value"],
        "cost": trial.cost,
        "training_seconds": training_run["seconds"],
        "devices": training_run["devices"],
        "training_flops": training_run["flops"],
    }
    for row in evaluation_table:
        metrics[f"eval.{row['name']}"] = row["value"]
        metrics[f"eval_standard_error.{row['name']}"] = row["standard_error"]
    metrics["score_standard_error"] = score["standard_error"]
    return Observation(
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        params={"parameter_count": training_run["parameters"], "tokens": training_run["tokens"]},
    )


def recommend_mixture(  # noqa: PLR0913, PLR0917
    observation: list[Trial],
    corpus: Corpus | CorpusSettings,
    campaign: CampaignSettings,
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
    recipes: dict[str, str],
    warm_start: DataFrame,
) -> dict[str, Any]:
    """The mixture recommended for the target, with its predicted score; empty if unknown.

    Args:
        observation: The history, this step's trial included.
        corpus: Its domains; whether it is built does not matter.
        campaign: Its seed, and where the costs come from.
        search: The policy.
        fidelities: The ladder.
        evaluation: What is measured.
        objective: What the score is made of.
        recipes: Hash of the configured recipe per fidelity.
        warm_start: Runs that were known before the campaign, as trials.
    """
    space = campaign_space(corpus, search, fidelities, evaluation, objective)
    table = add_warm_start(warm_start, tabulate_trials(observation, space, recipes))
    space = with_costs(space, current_costs(campaign, fidelities, observation))
    best = recommend(space, table, search.build_policy(), campaign.seed)
    if best is None:
        return {}
    # A run of the warm start has no name but its id.
    names = {trial.run_id: trial.name for trial in observation}
    return {
        "mixture": mixture_by_domain(best.mixture, space),
        "fidelity": space.target.name,
        "score_mean": best.score_mean,
        "score_sd": best.score_sd,
        "metrics": {
            name: {"mean": mean, "sd": deviation}
            for name, (mean, deviation) in best.metrics.items()
        },
        "constraints": [
            {
                "metric": constraint.metric,
                **search.constraints[constraint.metric].model_dump(exclude_none=True),
                # None while no trial has the metric.
                "predicted_probability": constraint.likelihood(*best.metrics[constraint.metric])
                if constraint.metric in best.metrics
                else None,
            }
            for constraint in search.build_constraints()
        ],
        "target_trials": int(
            ((table["fidelity"] == space.target.name) & (table["status"] == "observed")).sum()
        ),
        "trial": names.get(best.trial, best.trial) if best.trial else None,
    }


def tabulate_history(observation: list[Trial]) -> DataFrame:
    """Every trial, one row each: what it was, what it cost, what it scored."""
    import pandas as pd

    fields = ("run_id", "name", "fidelity", "policy", "phase", "status", "cost", "score")
    # All names, in the order in which they first occur.
    domains = dict.fromkeys(chain.from_iterable(trial.mixture for trial in observation))
    metrics = dict.fromkeys(chain.from_iterable(trial.metrics for trial in observation))
    return pd.DataFrame(
        {
            name: [getattr(trial, name) for trial in observation]
            for name in (*fields, "score_standard_error")
        }
        | {f"mixture.{name}": [t.mixture.get(name) for t in observation] for name in domains}
        | {f"metric.{name}": [t.metrics.get(name) for t in observation] for name in metrics}
    )


def report_step(
    trial: Trial,
    observation: list[Trial],
    recommendation: dict[str, Any],
    campaign: CampaignSettings,
    fidelities: Ladder,
) -> dict[str, Any]:
    """What a person wants to know after a step."""
    done = next(entry for entry in observation if entry.run_id == trial.run_id)
    return {
        "trial": {
            "run_id": done.run_id,
            "name": done.name,
            "policy": done.policy,
            "phase": done.phase,
            "fidelity": done.fidelity,
            "mixture": dict(done.mixture),
            "cost": done.cost,
            "score": done.score,
            "score_standard_error": done.score_standard_error,
            "metrics": dict(done.metrics),
        },
        "recommendation": recommendation,
        "campaign": describe_campaign(observation, campaign, fidelities),
    }


def describe_campaign(
    trials: list[Trial], campaign: CampaignSettings, fidelities: Ladder
) -> dict[str, Any]:
    """What the campaign has spent so far, and what its next trial would cost."""
    return {
        "name": campaign.name,
        "trials": len(trials),
        "spent": spent(trials),
        "budget": campaign.budget,
        "costs": {
            "origin": campaign.costs,
            "next": current_costs(campaign, fidelities, trials),
        },
    }


def finish_step(step_report: dict[str, Any], _table: DataFrame) -> dict[str, Any]:
    """End the trial with its report, once all else is kept: a kill before leaves it to be ended."""
    return step_report
