"""Propose the next trial."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admire_pipeline.errors import CampaignOver
from admire_pipeline.optimizer import propose
from admire_pipeline.pipelines.search import (
    SearchSettings,
    campaign_space,
    current_costs,
    mixture_by_domain,
    spent,
    tabulate_trials,
    with_costs,
)
from admire_pipeline.pipelines.warm_start import add_warm_start
from admire_pipeline.tracking import CampaignSettings, Trial, TrialDraft
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.harness.check import check_data
from admire_pipeline.training.models import shortest_context
from admire_pipeline.training.objective import ObjectiveSettings
from admire_pipeline.training.provenance import provenance
from admire_pipeline.training.requirements import check_requirements
from admire_pipeline.training.settings import EvaluationSettings, Ladder

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any  # kedro resolves the annotations of nodes; pandas is slow to import

logger = logging.getLogger(__name__)


def propose_trial(  # noqa: PLR0913, PLR0917
    corpus: Corpus,
    interrupted: Trial | None,
    trials: list[Trial],
    campaign: CampaignSettings,
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
    recipes: dict[str, str],
    warm_start: DataFrame,
    project_folder: Path,
) -> Trial | TrialDraft:
    """Take up the interrupted trial where there is one; else ask the policy for a new one.

    Raises:
        CampaignOver: If the budget is spent.
        UserError: If the corpus has too little text for the fidelities, the history is over other
            domains or fidelities than the config, or a new trial's tasks could not be asked.
    """
    check_requirements(corpus, fidelities, evaluation.located(project_folder))
    space = campaign_space(corpus, search, fidelities, evaluation, objective)
    table = tabulate_trials(trials, space, recipes)
    if interrupted is not None:
        origin = provenance(corpus, fidelities[interrupted.fidelity])
        return replace(interrupted, provenance=origin | dict(interrupted.provenance))
    if (paid := spent(trials)) >= campaign.budget:
        raise CampaignOver(
            f"campaign {campaign.name!r}: its budget is spent ({paid:.2f} of "
            f"{campaign.budget:.2f}); raise campaign.budget to go on"
        )
    room = shortest_context(fidelities)
    check_data(evaluation.located(project_folder), corpus.settings.tokenizer, room)
    space = with_costs(space, current_costs(campaign, fidelities, trials))
    known = add_warm_start(warm_start, table)
    proposal = propose(space, known, search.build_policy(), campaign.seed)
    logger.info(
        "proposal %d: %s (%s, %s)",
        len(trials) + 1,
        proposal.fidelity,
        proposal.policy,
        proposal.phase,
    )
    return TrialDraft(
        mixture=mixture_by_domain(proposal.mixture, space),
        fidelity=proposal.fidelity,
        cost=proposal.cost,
        policy=proposal.policy,
        phase=proposal.phase,
        acquisition_value=proposal.acquisition_value,
        based_on=proposal.based_on,
        campaign_seed=campaign.seed,
        recipe=recipes[proposal.fidelity],
        provenance=provenance(corpus, fidelities[proposal.fidelity]),
    )
