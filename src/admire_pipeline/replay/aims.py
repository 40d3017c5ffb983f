"""What our policy is to reach, each aim as a function of the curves of benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from admire_pipeline.optimizer import make_policy
from admire_pipeline.replay.checks import AVERAGE
from admire_pipeline.replay.jobs import CODE, COLUMNS, code_of, read_kept
from admire_pipeline.replay.measures import Curve, mean_curve
from admire_pipeline.replay.summary import OURS, curves_by_seed
from admire_pipeline.replay.synthetic import PREFIX

OURS_TARGET_ONLY = "admire-target"
"""Our policy restricted to the target, with the same surrogate."""

MFBO, BO, RANDOM = "admire-mfbo", "admire-bo", "random"

COMPARED = (OURS, OURS_TARGET_ONLY, MFBO, BO, RANDOM)
"""Those that an aim is about."""

NEEDED_SEEDS = 5

_KEYS = ["table", "problem", "policy", "objective", "seed"]


class NotMeasured(Exception):
    """The curves do not tell; the message says what is missing."""


@dataclass(frozen=True)
class Found:
    """What the curves say about an aim.

    Attributes:
        value: The measure for our policy, as text.
        beside: The same for those it is compared with, as text.
        met: Whether the aim is met.
    """

    value: str
    beside: str
    met: bool


@dataclass(frozen=True)
class Aim:
    """An aim.

    Attributes:
        table: Name of the run table that it is about.
        problem: On which problem, in words.
        measure: What is measured, in words.
        aim: What is to be reached, in words.
        check: From curves to what is found.

    Note:
        ``check`` raises ``NotMeasured`` where the curves do not tell.
    """

    table: str
    problem: str
    measure: str
    aim: str
    check: Callable[[pd.DataFrame], Found]


def read_curves(folders: Iterable[Path], seeds: Iterable[int]) -> pd.DataFrame:
    """Read the curves of benchmarks for some seeds.

    Args:
        folders: Of benchmarks; all finished campaigns that they keep count (``jobs.read_kept``).
        seeds: Those to keep; regrets chosen by are not regrets to report.

    Returns:
        The curves, columns as ``jobs.COLUMNS`` and ``jobs.CODE``; of a campaign that several
        benchmarks have run, the one of the greatest budget, or else of the first folder.
    """
    kept = [read_kept(folder, COMPARED, set(seeds)) for folder in folders]
    frames = [frame.assign(_folder=number) for number, frame in enumerate(kept) if len(frame)]
    if not frames:
        return pd.DataFrame(columns=[*COLUMNS, CODE])
    curves = pd.concat(frames, ignore_index=True)
    campaigns = curves[[*_KEYS, "budget", "_folder"]].drop_duplicates()
    campaigns = campaigns.sort_values(["budget", "_folder"], ascending=[False, True])
    chosen = campaigns.drop_duplicates(_KEYS)
    return curves.merge(chosen, on=[*_KEYS, "budget", "_folder"]).drop(columns="_folder")


def outdated(curves: pd.DataFrame) -> int:
    """Return how many campaigns that an aim is about were run by code that has changed since.

    Args:
        curves: As ``read_curves`` returns them.
    """
    tables = {aim.table for aim in AIMS}
    campaigns = curves[curves["table"].isin(tables)].drop_duplicates(_KEYS)
    return sum(
        int((frame[CODE] != code_of(make_policy(str(policy)), str(problem))).sum())
        for (policy, problem), frame in campaigns.groupby(["policy", "problem"])
    )


def _means(  # noqa: PLR0913
    curves: pd.DataFrame,
    table: str,
    problem: str,
    *policies: str,
    budget: float = 0.0,
    objectives: int | tuple[str, ...] = 1,
) -> list[Curve]:
    """The mean curve of each policy over objectives (so many, or these) and the same seeds."""
    frames, complete = [], []
    for policy in policies:
        frame = _of(curves, table, problem, policy)
        least = objectives
        if isinstance(least, tuple):
            frame = frame[frame["objective"].isin(least)]
            least = len(least)
        if not len(frame):
            raise NotMeasured(f"no {policy}")
        each = frame.groupby("objective")["seed"].nunique()
        # Those that were only begun do not count.
        if (whole := int((each >= min(each.max(), NEEDED_SEEDS)).sum())) < least:
            raise NotMeasured(f"{policy}: {whole} of {least} objectives")
        if (spent := float(frame["budget"].min())) < budget * 0.999:
            raise NotMeasured(f"{policy}: budget {spent:g} of {budget:g}")
        every = frame[["objective", "seed"]].drop_duplicates().groupby("seed").size()
        seeds = set(every[every == len(each)].index)
        if len(seeds) < NEEDED_SEEDS:
            raise NotMeasured(f"{policy}: {len(seeds)} seeds, {NEEDED_SEEDS} are needed")
        complete.append(seeds)
        frames.append(frame)
    shared = set.intersection(*complete)
    if len(shared) < NEEDED_SEEDS:
        raise NotMeasured(f"{' and '.join(policies)} have not {NEEDED_SEEDS} seeds in common")
    paired = [frame[frame["seed"].isin(shared)] for frame in frames]
    return [mean_curve(list(curves_by_seed(frame).values())) for frame in paired]


def _regret_at(curves: pd.DataFrame) -> Found:
    costs = np.array([2.0, 5.0, 10.0, 15.0])
    aims = np.array([0.62, 0.35, 0.20, 0.13])
    means = _means(curves, "tulu", "pool", OURS, BO, RANDOM, budget=15, objectives=20)
    ours, bo, chance = (curve.at(costs) for curve in means)
    met = all(_at_most(ours, bound) for bound in (aims, bo, chance))
    return Found(_text(ours), f"{BO} {_text(bo)}; {RANDOM} {_text(chance)}", met)


def _reach_pile(curves: pd.DataFrame) -> Found:
    level, aim = 0.05, 0.05
    means = partial(_means, curves, "pile", "pool", objectives=(AVERAGE,))
    (ours,) = means(OURS)
    cost = ours.reach(level)
    try:
        (published,) = means(MFBO)
        beside = f"{MFBO} {_bounded(published.reach(level), _budget(curves, 'pile', MFBO))}"
    except NotMeasured as missing:
        beside = str(missing)
    return Found(_bounded(cost, _budget(curves, "pile", OURS)), beside, _at_most(cost, aim))


def _area_pile(curves: pd.DataFrame) -> Found:
    means = _means(curves, "pile", "pool", OURS, MFBO, budget=2, objectives=14)
    ours, published = (curve.area(2) for curve in means)
    return Found(f"{ours:.3f}", f"{MFBO} {published:.3f}", _at_most(ours, published / 5))


def _reach_simulator(curves: pd.DataFrame, table: str, objectives: int) -> Found:
    means = partial(_means, curves, table, "simulator", objectives=objectives)
    fractions, missing = {MFBO: 3, BO: 2}, {}
    for policy in fractions:
        try:
            means(policy)
        except NotMeasured as reason:
            missing[policy] = reason
    there = [policy for policy in fractions if policy not in missing]
    ours, *published = (curve.reach(0.1) for curve in means(OURS, *there))
    if np.isfinite(ours) and missing:
        raise next(iter(missing.values()))
    met, beside = bool(np.isfinite(ours)), [str(reason) for reason in missing.values()]
    for policy, cost in zip(there, published, strict=True):
        # Where a published policy never arrives, its budget is a lower bound of what it needs.
        budget = _budget(curves, table, policy, "simulator")
        met = met and _at_most(ours, min(cost, budget) / fractions[policy])
        beside.append(f"{policy} {_bounded(cost, budget)}")
    value = _bounded(ours, _budget(curves, table, OURS, "simulator"))
    return Found(value, "; ".join(beside), met)


def _guard(curves: pd.DataFrame, table: str, objectives: int | tuple[str, ...]) -> Found:
    means = _means(curves, table, "pool", OURS, OURS_TARGET_ONLY, objectives=objectives)
    until = min(_budget(curves, table, policy) for policy in (OURS, OURS_TARGET_ONLY))
    ours, alone = (curve.area(until) for curve in means)
    return Found(
        f"{ours / alone:.3f} x ({ours:.3f} to cost {until:g})",
        f"{OURS_TARGET_ONLY} {alone:.3f}",
        _at_most(ours, 1.05 * alone),
    )


def _of(curves: pd.DataFrame, table: str, problem: str, policy: str) -> pd.DataFrame:
    """The curves of a policy on a problem."""
    here = (curves["table"] == table) & (curves["problem"] == problem)
    return curves[here & (curves["policy"] == policy)]


def _budget(curves: pd.DataFrame, table: str, policy: str, problem: str = "pool") -> float:
    """The least budget of a policy's campaigns on a problem."""
    return float(_of(curves, table, problem, policy)["budget"].min())


def _bounded(cost: float, budget: float) -> str:
    """A cost, or that it is more than a budget."""
    return f"{cost:.3g}" if np.isfinite(cost) else f"> {budget:g}"


def _at_most(values: np.ndarray | float, bounds: np.ndarray | float) -> bool:
    """Whether no value is above its bound by more than the round-off of a mean."""
    return bool(np.all(np.asarray(values) <= np.asarray(bounds) + 1e-9))


def _text(values: np.ndarray) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


_GUARD = ("area under the curve / target only", "at most 1.05")

AIMS = (
    Aim(
        "tulu",
        "Tülu pool, 20 objectives",
        "regret at cost 2 / 5 / 10 / 15",
        f".62 / .35 / .20 / .13 and never above {BO}, {RANDOM}",
        _regret_at,
    ),
    Aim(
        "pile",
        "Pile pool, average",
        "cost to reach and stay at 0.05",
        "at most 0.05",
        _reach_pile,
    ),
    Aim(
        "pile",
        "Pile pool, 14 objectives",
        "area under the curve to cost 2",
        f"at most 1/5 of {MFBO}'s",
        _area_pile,
    ),
    *(
        Aim(
            table,
            f"{name} simulator, {objectives} objectives",
            "cost to reach and stay at 0.1",
            f"at most 1/3 of {MFBO}'s, 1/2 of {BO}'s",
            partial(_reach_simulator, table=table, objectives=objectives),
        )
        for name, table, objectives in (("Tülu", "tulu", 20), ("Pile", "pile", 14))
    ),
    Aim(
        "tulu",
        "Tülu pool, average_ood",
        *_GUARD,
        partial(_guard, table="tulu", objectives=("average_ood",)),
    ),
    *(
        Aim(
            table,
            f"made up: small is {name}, 4 objectives",
            *_GUARD,
            partial(_guard, table=table, objectives=4),
        )
        for name, table in (("noise", f"{PREFIX}noise"), ("reversed", f"{PREFIX}reversed"))
    ),
)
"""All of them, in the order of the report. Regrets are normalised and honest, their mean is over
the objectives and at least 5 seeds, the area is the mean regret up to a cost."""
