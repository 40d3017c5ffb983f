"""Propose the next trial."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admire_pipeline.errors import UserError
from admire_pipeline.optimizer import NothingToPropose, Space, propose
from admire_pipeline.pipelines.search import (
    SearchSettings,
    campaign_space,
    current_costs,
    mixture_by_domain,
    tabulate_trials,
    with_costs,
)
from admire_pipeline.pipelines.warm_start import add_warm_start
from admire_pipeline.tracking import CampaignSettings, Trial, TrialDraft, WorkerSettings
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


def prepare_space(  # noqa: PLR0913, PLR0917
    corpus: Corpus,
    trials: list[Trial],
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
    recipes: dict[str, str],
    warm_start: DataFrame,
    project_folder: Path,
) -> Space:
    """The campaign's space, checked against its text and its history before a trial is touched.

    Raises:
        UserError: If the corpus has too little text for the fidelities, or the history or the runs
            of the warm start are over other domains or fidelities than the config.
    """
    check_requirements(corpus, fidelities, evaluation.located(project_folder))
    space = campaign_space(corpus, search, fidelities, evaluation, objective)
    add_warm_start(warm_start, tabulate_trials(trials, space, recipes))
    return space


def propose_trial(  # noqa: PLR0913, PLR0917
    space: Space,
    interrupted: Trial | None,
    trials: list[Trial],
    corpus: Corpus,
    campaign: CampaignSettings,
    worker: WorkerSettings,
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    recipes: dict[str, str],
    warm_start: DataFrame,
    project_folder: Path,
) -> Trial | TrialDraft:
    """Take up the interrupted trial where there is one; else ask the policy for a new one.

    Raises:
        UserError: If the tasks could not be asked, or the policy has nothing for this worker.
    """
    if interrupted is not None:
        origin = provenance(corpus, fidelities[interrupted.fidelity])
        return replace(interrupted, provenance=origin | dict(interrupted.provenance))
    room = shortest_context(fidelities)
    check_data(evaluation.located(project_folder), corpus.settings.tokenizer, room)
    space = with_costs(space, current_costs(campaign, fidelities, trials))
    known = add_warm_start(warm_start, tabulate_trials(trials, space, recipes))
    space = replace(space, served=worker.fidelities or ())
    try:
        proposal = propose(space, known, search.build_policy(), campaign.seed)
    except NothingToPropose as error:
        raise UserError(f"worker.fidelities: {list(space.served)}: {error}") from None
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
