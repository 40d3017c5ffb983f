"""Runs that were known before the campaign: they inform it and cost it nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Node

from admire_pipeline.errors import UserError
from admire_pipeline.pipelines.search import SearchSettings, campaign_space, tabulate_trials
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.objective import ObjectiveSettings, metric_range
from admire_pipeline.training.settings import EvaluationSettings, Ladder

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any  # kedro resolves the annotations of nodes; pandas is slow to import

logger = logging.getLogger(__name__)


def read_warm_start(
    project_folder: Path,
    corpus: Corpus | CorpusSettings,
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
) -> DataFrame:
    """The runs of `search.warm_start` as trials; an empty table where there is none.

    The table is only information: another one from the next step on, or none, is as good.

    Raises:
        UserError: If it is not a run table over the campaign's domains, fidelities and metrics.
    """
    from admire_pipeline.replay.warm_start import tabulate_known_runs

    space = campaign_space(corpus, search, fidelities, evaluation, objective)
    if search.warm_start is None:
        return tabulate_trials([], space, {})
    path = project_folder / Path(search.warm_start).expanduser()
    if not path.is_file():
        raise UserError(
            f"search.warm_start: no file {str(path)!r}; allowed: a .csv or .parquet file, "
            "by its path from the project's folder, or null"
        )
    ranges = {metric: metric_range(metric) for metric in space.objective}
    known = tabulate_known_runs(path, space, "search.warm_start", ranges)
    logger.info("warm start: %d runs of %s", len(known), path)
    for metric in search.constraints:
        if known[f"metric.{metric}"].isna().all():
            logger.info("warm start: none of them tells of search.constraints.%s", metric)
    return known


def add_warm_start(warm_start: DataFrame, table: DataFrame) -> DataFrame:
    """One table of trials: the runs known before, then the campaign's own."""
    import pandas as pd

    parts = [part for part in (warm_start, table) if not part.empty]
    return pd.concat(parts, ignore_index=True) if parts else table


def warm_start_node() -> Node:
    """The node of the stages that ask the policy; in a whole step it stands once."""
    return Node(
        read_warm_start,
        inputs=[
            "project_folder",
            "corpus",
            "params:search",
            "params:fidelities",
            "params:evaluation",
            "params:objective",
        ],
        outputs="warm_start",
        name="read_warm_start",
    )
