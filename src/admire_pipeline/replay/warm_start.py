"""Finished runs as trials of a campaign that did not make them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.optimizer import Space
from admire_pipeline.optimizer.trials import (
    METRIC_ERROR_PREFIX,
    METRIC_PREFIX,
    MIXTURE_PREFIX,
    score_errors,
)
from admire_pipeline.replay.checks import checked_runs, read_frame
from admire_pipeline.replay.table import SPLITS

if TYPE_CHECKING:
    import pandas as pd


logger = logging.getLogger(__name__)


def tabulate_known_runs(
    path: Path, space: Space, key: str, ranges: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """Read a run table as observed trials of a space.

    Fidelities are taken by name, not by cost, and every row is used, whatever its ``split``, but
    for copies of others, which are no second training. Scores are the objective's weighted sum of
    the run's metrics; their standard errors follow from those of the metrics, taken as independent,
    where all are known.

    Args:
        path: A run table (``table`` describes the format).
        space: The campaign's space, with its objective.
        key: Where the path stands in the config, for messages.
        ranges: What metrics of the objective lie between, by name; others may be anything.

    Returns:
        A trials table (``Trials.from_frame``) with ids ``warm-0001``, ... and cost 0.

    Raises:
        UserError: If the table is over other domains or fidelities than the space, or a run lacks
            a metric of the objective, or has one beyond its range.
    """
    import pandas as pd

    where = f"{key}: {path}"
    try:
        given = read_frame(path)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    runs = checked_runs(where, given, SPLITS)
    _check_names(where, "domain", runs.domains, space.mixtures.domains)
    if missing := [name for name in space.mixtures.domains if name not in runs.domains]:
        raise UserError(
            f"{where}: has no column {MIXTURE_PREFIX}{missing[0]}; allowed: the domains of the "
            f"config, {', '.join(space.mixtures.domains)}"
        )
    names = [fidelity.name for fidelity in space.fidelities]
    _check_names(where, "fidelity", runs.frame["fidelity"].unique().tolist(), names)
    for name in (name for name, weight in space.objective.items() if weight):
        column = METRIC_PREFIX + name
        if name not in runs.metrics:
            raise UserError(
                f"{where}: has no column {column}, which the objective weighs; "
                f"{suggest(name, runs.metrics)}"
            )
        if (lacking := np.flatnonzero(runs.frame[column].isna())).size:
            raise UserError(
                f"{where}: {column} is empty in row {lacking[0] + 1}; allowed: runs with every "
                "metric that the objective weighs"
            )
    _check_ranges(where, runs.frame, ranges)
    weights = np.array(list(space.objective.values()), dtype=np.float64)
    weighed = weights != 0
    metrics = [METRIC_PREFIX + name for name in space.objective]
    errors = [METRIC_ERROR_PREFIX + name for name in space.objective]
    # Those under a constraint alone have no part in the score; a run may lack them.
    values = runs.frame.reindex(columns=metrics).to_numpy(dtype=np.float64)
    deviations = runs.frame.reindex(columns=errors).to_numpy(dtype=np.float64)
    trials = pd.DataFrame(
        {
            "trial": [f"warm-{number + 1:04d}" for number in range(len(runs.frame))],
            "fidelity": runs.frame["fidelity"],
            "status": "observed",
            "score": values[:, weighed] @ weights[weighed],
            "score_se": score_errors(deviations, weights),
            "cost": 0.0,
        }
    )
    mixture = runs.frame[[MIXTURE_PREFIX + name for name in space.mixtures.domains]]
    made = pd.concat(
        [
            trials,
            mixture,
            pd.DataFrame(values, columns=metrics),
            pd.DataFrame(deviations, columns=errors),
        ],
        axis=1,
    )
    # In all that is recorded of a run, whether or not the objective counts it.
    all_of_it = runs.frame.drop(columns="split", errors="ignore")
    copies = all_of_it.assign(trial=given["trial"].array if "trial" in given else "").duplicated()
    if copies.any():
        logger.info("%s: %d rows are copies of others and left out", where, copies.sum())
    return made[~copies].reset_index(drop=True)


def _check_names(where: str, what: str, found: Sequence[str], allowed: Sequence[str]) -> None:
    for name in found:
        if name not in allowed:
            raise UserError(
                f"{where}: {what} {name!r} is not in the config; {suggest(name, allowed)}"
            )


def _check_ranges(
    where: str, frame: pd.DataFrame, ranges: Mapping[str, tuple[float, float]]
) -> None:
    for name, (least, most) in ranges.items():
        if (column := METRIC_PREFIX + name) not in frame:
            continue
        if (beyond := np.flatnonzero((frame[column] < least) | (frame[column] > most))).size:
            raise UserError(
                f"{where}: {column} is {frame[column].iloc[beyond[0]]:g} in row {beyond[0] + 1}; "
                f"allowed: {least:g} to {most:g}, as measured (a loss is not negated)"
            )
