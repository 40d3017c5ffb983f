"""What a campaign has found so far, from its history alone: no corpus, no trial at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from admire_pipeline.errors import UserError
from admire_pipeline.pipelines.bo_update.nodes import describe_campaign, recommend_mixture
from admire_pipeline.pipelines.search import SearchSettings
from admire_pipeline.pipelines.warm_start import read_warm_start
from admire_pipeline.tracking import CampaignSettings, Trial, TrialStatus
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.objective import ObjectiveSettings
from admire_pipeline.training.settings import EvaluationSettings, Ladder


def report_campaign(
    trials: Sequence[Trial],
    project_folder: Path,
    corpus: CorpusSettings,
    campaign: CampaignSettings,
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
) -> dict[str, Any]:
    """The recommendation, how many trials there are of which status, and what they cost.

    Args:
        trials: The history.
        project_folder: Where relative paths of the config start.
        corpus: Its domains.
        campaign: Its name, seed and budget.
        search: The policy.
        fidelities: The ladder.
        evaluation: What is measured.
        objective: What the score is made of.

    Raises:
        UserError: If no trial has been evaluated, or the history is over other domains or
            fidelities than the config.
    """
    history = list(trials)
    if all(trial.status is not TrialStatus.OBSERVED for trial in history):
        raise UserError(
            f"campaign {campaign.name!r} has no evaluated trial to report; run "
            "`kedro run --pipelines=admire_step` first"
        )
    warm_start = read_warm_start(project_folder, corpus, search, fidelities, evaluation, objective)
    recommendation = recommend_mixture(
        history,
        corpus,
        campaign,
        search,
        fidelities,
        evaluation,
        objective,
        _recipes(history, fidelities),
        warm_start,
    )
    statuses = Counter(str(trial.status) for trial in history)
    return {
        "recommendation": recommendation,
        "campaign": describe_campaign(history, campaign, fidelities) | {"statuses": statuses},
    }


def _recipes(trials: Iterable[Trial], fidelities: Ladder) -> dict[str, str]:
    """Recipe per fidelity, as the trials had it: to hash the configured one takes the corpus."""
    counted = (trial for trial in trials if trial.status is not TrialStatus.FAILED)
    known = {trial.fidelity: trial.recipe for trial in counted}
    return {name: known.get(name, "") for name in fidelities.root}
