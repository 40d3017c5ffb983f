"""From the curves of a benchmark to one row a policy and objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from admire_pipeline.replay.checks import ALL
from admire_pipeline.replay.measures import LEVELS, Curve, bootstrap_interval, mean_curve

OURS = "admire"
"""The policy that the others are compared with."""

_ROUND = (1, 2, 5)


def curves_by_seed(frame: pd.DataFrame, value: str = "honest") -> dict[int, Curve]:
    """Return for each seed the curve of one policy, averaged over the objectives.

    Args:
        frame: Rows of one policy on one problem, columns as ``jobs.COLUMNS``.
        value: ``honest`` or ``published``.
    """
    curves: dict[int, list[Curve]] = {}
    for (seed, _), steps in frame.groupby(["seed", "objective"], sort=True):
        ordered = steps.sort_values("step")
        curve = Curve(ordered["cost"].to_numpy(float), ordered[value].to_numpy(float))
        curves.setdefault(int(str(seed)), []).append(curve)
    return {seed: mean_curve(of_seed) for seed, of_seed in curves.items()}


def shared(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the curves of the objectives and seeds that all policies have.

    A policy that lacks a hard objective, because a campaign failed, would look better than the
    others in a mean over whatever each of them has.

    Args:
        curves: Columns as ``jobs.COLUMNS``, all of one table, problem and budget.
    """
    having = curves.groupby(["objective", "seed"])["policy"].transform("nunique")
    return curves[having == curves["policy"].nunique()]


def grid_of(budget: float, cheapest: float, number: int = 5) -> list[float]:
    """Return round costs to report at, the budget last.

    Args:
        budget: The greatest.
        cheapest: Cost of a run of the smallest size; below it there is nothing to tell.
        number: At most so many.
    """
    powers = range(int(np.floor(np.log10(cheapest))), int(np.ceil(np.log10(budget))) + 1)
    costs = [float(f"{digit}e{power}") for power in powers for digit in _ROUND]
    inside = [cost for cost in costs if cheapest <= cost < budget * 0.999]
    return [*inside[-(number - 1) :], budget]


def summarise(curves: pd.DataFrame, grid: Sequence[float]) -> pd.DataFrame:
    """Summarise a benchmark.

    Args:
        curves: Columns as ``jobs.COLUMNS``, all of one table, problem and budget.
        grid: Costs to report regrets at.

    Returns:
        One row a policy and objective, with ``ALL`` for the mean over the objectives of the same
        seed, of those campaigns alone that all policies have (``shared``). So is a single
        objective; rows of one among several have all seeds of a policy. Columns: ``seeds``;
        ``honest@c`` and ``published@c``, normalised regrets at a cost; ``area``, the mean honest
        regret from cost 0 to the budget, with ``area_low`` and ``area_high`` (95 %, over seeds);
        ``area_less_ours`` with its interval, the difference to ``admire`` paired over seeds, above
        0 where that is better; ``reach@r``, the cost from which on the mean curve stays at or
        below a regret, inf if never; ``trials``; ``seconds_per_proposal``, the median over
        campaigns of their mean.
    """
    rows = []
    for objective, of_objective in _parts(curves):
        ours = _areas(of_objective[of_objective["policy"] == OURS])
        for policy in curves["policy"].unique():
            frame = of_objective[of_objective["policy"] == policy]
            if len(frame):
                rows.append({"policy": policy, "objective": objective, **_row(frame, grid, ours)})
    about = curves[["table", "problem", "budget"]].iloc[:1].reset_index(drop=True)
    summary = pd.DataFrame(rows)
    for number, column in enumerate(about):
        summary.insert(number, column, about[column].iloc[0])
    return summary


def whole(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary that are of all objectives, or of the only one there is.

    Those are none where there are several objectives and no campaign that all policies have.
    """
    objectives = summary["objective"]
    return summary[(objectives == ALL) | (objectives.nunique() == 1)]


def _parts(curves: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    objectives = curves["objective"].unique()
    everywhere = shared(curves)
    if len(objectives) == 1:
        yield str(objectives[0]), everywhere if len(everywhere) else curves
        return
    if len(everywhere):
        yield ALL, everywhere
    for objective in objectives:
        yield str(objective), curves[curves["objective"] == objective]


def _areas(frame: pd.DataFrame) -> dict[int, float]:
    """The area of each seed."""
    if not len(frame):
        return {}
    budget = float(frame["budget"].iloc[0])
    return {seed: curve.area(budget) for seed, curve in curves_by_seed(frame).items()}


def _row(frame: pd.DataFrame, grid: Sequence[float], ours: dict[int, float]) -> dict[str, float]:
    mean = mean_curve(list(curves_by_seed(frame).values()))
    published = mean_curve(list(curves_by_seed(frame, "published").values()))
    areas = _areas(frame)
    row: dict[str, float] = {"seeds": len(areas)}
    row |= {f"honest@{cost:g}": float(mean.at(cost)) for cost in grid}
    row |= {f"published@{cost:g}": float(published.at(cost)) for cost in grid}
    interval = bootstrap_interval(np.array(list(areas.values())))
    row |= {"area": interval.mean, "area_low": interval.low, "area_high": interval.high}
    both = [seed for seed in areas if seed in ours]
    if both:
        gap = bootstrap_interval(np.array([areas[seed] - ours[seed] for seed in both]))
        row |= {"area_less_ours": gap.mean, "area_less_ours_low": gap.low}
        row |= {"area_less_ours_high": gap.high}
    row |= {f"reach@{level:g}": mean.reach(level) for level in LEVELS}
    trials = frame[frame["step"] > 0]
    campaigns = len(frame[["objective", "seed"]].drop_duplicates())
    row["trials"] = len(trials) / campaigns
    # A campaign that ran while the machine slept says nothing of a policy.
    seconds = trials.groupby(["objective", "seed"])["propose_seconds"].mean()
    row["seconds_per_proposal"] = float(seconds.median())
    return row


def headline(curves: pd.DataFrame) -> dict[str, float]:
    """Return a few figures of each policy, named ``<measure>.<policy>``, as a tracker takes them.

    Args:
        curves: Columns as ``jobs.COLUMNS``, all of one table, problem and budget.
    """
    if not len(curves):
        return {}
    budget = float(curves["budget"].iloc[0])
    summary = summarise(curves, [budget])
    measures = {
        "regret": f"honest@{budget:g}",
        "area": "area",
        **{f"cost_to_reach_{level:g}": f"reach@{level:g}" for level in LEVELS},
        "seconds_per_proposal": "seconds_per_proposal",
    }
    return {
        f"{name}.{row['policy']}": float(row[column])
        for _, row in whole(summary).iterrows()
        for name, column in measures.items()
    }
