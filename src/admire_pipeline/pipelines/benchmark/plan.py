"""From settings to a plan: the table, and what is null filled in."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.pipelines.benchmark.settings import MADE_UP, PUBLISHED, BenchmarkSettings
from admire_pipeline.training.objective import LOSSES

if TYPE_CHECKING:
    from admire_pipeline.replay.jobs import Plan
    from admire_pipeline.replay.table import RunTable

logger = logging.getLogger(__name__)

SIMULATORS = Path("data/06_models/simulators")
"""What simulators are fitted to."""

REPORTS = Path("data/08_reporting/benchmark")

EVERY_POLICY = (
    "random",
    "uniform",
    "regmix",
    "zero-shot",
    "admire-bo",
    "admire-mfbo",
    "admire-target",
    "admire",
)
"""All but those of the ablation; `zero-shot` stands for one a size."""

NEEDED_BY_REGMIX = "lightgbm"

SEEDS = tuple(range(5))
BUDGET = 15.0
QUICK_SEEDS = (0, 1)
QUICK_BUDGET = 5.0
QUICK_OBJECTIVES = 2
QUICK_TRIALS = 60
"""A published policy that buys hundreds of cheap runs fits anew after each, for many minutes."""
QUICK_POLICIES = ("random", "admire-bo", "admire-mfbo", "admire")


_LOSS = re.compile(
    rf"(?i)(?<![a-z])({'|'.join(LOSSES)}|ppl|nll|bpb|wer|cross_entropy|(log)?loss(es)?)(?![a-z])"
)
"""Names of metrics of which less is better."""


def load_table(settings: BenchmarkSettings, project: Path) -> RunTable:
    """Read the table that the settings name.

    Raises:
        UserError: If it cannot be read, or its direction is not the one given.
    """
    from admire_pipeline.replay.published import DOWNLOADS, READERS
    from admire_pipeline.replay.synthetic import PREFIX, made_up_table
    from admire_pipeline.replay.table import read_table

    if settings.table in PUBLISHED:
        table = READERS[settings.table](project / DOWNLOADS)
    elif settings.table in MADE_UP:
        table = made_up_table(settings.table.removeprefix(PREFIX))
    else:
        path = project / settings.table
        if not path.exists():
            raise UserError(
                f"benchmark.table: no file {settings.table!r}; "
                f"{suggest(settings.table, (*PUBLISHED, *MADE_UP))}, or a .csv or .parquet file"
            )
        table = read_table(path, settings.direction or "maximize")
        if settings.direction is None and (loss := next(filter(_LOSS.search, table.metrics), None)):
            raise UserError(
                f"benchmark.direction: not given, and metric.{loss} of {settings.table!r} has the "
                "name of a loss; allowed: maximize, minimize"
            )
        # The aims are of the tables of these names alone.
        taken = table.name in (*PUBLISHED, *MADE_UP)
        return replace(table, name=f"{table.name}-file") if taken else table
    if settings.direction not in (None, table.direction):
        raise UserError(
            f"benchmark.direction: {settings.direction!r}, but {settings.table!r} is to "
            f"{table.direction}; allowed: {table.direction}, or null"
        )
    return table


def make_plan(settings: BenchmarkSettings, table: RunTable, project: Path) -> Plan:
    """Fill in what is null, and check every name before anything runs.

    Raises:
        UserError: If there is no policy or objective of a name, or a policy lacks what it needs.
    """
    from admire_pipeline.replay import policies
    from admire_pipeline.replay.jobs import Plan
    from admire_pipeline.replay.problem import objective_weights
    from admire_pipeline.replay.synthetic import PREFIX

    known = tuple(table.objectives())
    objectives = known[:QUICK_OBJECTIVES] if settings.quick else known
    if settings.objectives:
        objectives = _joined(settings.objectives, known)
    try:
        for objective in objectives:
            objective_weights(table, objective)
        if settings.problem == "pool":
            objectives = _telling(objectives, table)
        names = policies.expand(settings.policies or _default_policies(settings), table.fidelities)
    except UserError as error:
        raise UserError(f"benchmark.{error}") from None
    if not names:
        raise UserError(
            f"benchmark.policies: zero-shot transfers from smaller sizes, {table.name!r} has one "
            f"size; allowed: {', '.join(policies.names(table.fidelities))}"
        )
    try:
        for name in names:
            policies.make(name, None, table.fidelities)
    except ValueError as error:
        raise UserError(f"benchmark.policies: {error}") from None
    names = _able(names, objectives, table, settings.problem)
    if "regmix" in names and find_spec(NEEDED_BY_REGMIX) is None:
        raise UserError(
            f"benchmark.policies: 'regmix' needs {NEEDED_BY_REGMIX}: "
            "pip install 'admire-pipeline[benchmark]'"
        )
    name = f"{table.name}-{settings.problem}{'-quick' if settings.quick else ''}"
    folder = project / (settings.out or REPORTS / name)
    _make_folder(folder)
    return Plan(
        table=table,
        problem=settings.problem,
        policies=_unique(names),
        objectives=_unique(objectives),
        seeds=tuple(sorted(set(settings.seeds or (QUICK_SEEDS if settings.quick else SEEDS)))),
        budget=settings.budget or (QUICK_BUDGET if settings.quick else BUDGET),
        folder=folder,
        cache=project / SIMULATORS,
        max_trials=settings.max_trials or (QUICK_TRIALS if settings.quick else None),
        made_up=settings.table.removeprefix(PREFIX) if settings.table in MADE_UP else None,
    )


def _joined(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names of which some hold a comma, at which `a,b` was taken apart."""
    joined: list[str] = []
    rest = [] if set(names) <= set(known) else list(names)
    while rest:
        counts = [n for n in range(len(rest), 0, -1) if ",".join(rest[:n]) in known]
        count = counts[0] if counts else 1
        joined.append(",".join(rest[:count]))
        del rest[:count]
    return tuple(joined or names)


def _telling(objectives: Sequence[str], table: RunTable) -> tuple[str, ...]:
    """The objectives by which the pool of the target is not all alike: of others is no regret."""
    from admire_pipeline.replay.problem import PoolProblem

    def differ(objective: str) -> bool:
        problem = PoolProblem(table, objective)
        return len({problem.truth(mixture) for mixture in problem.space.pools[-1]}) > 1

    told = tuple(filter(differ, objectives))
    if left := [name for name in objectives if name not in told]:
        why = f"all runs of {table.fidelities[-1].name!r} in the pool score the same"
        if not told:
            raise UserError(f"objectives: {left[0]!r}: {why}; allowed: one by which they differ")
        logger.warning("left out: %s, by which %s", ", ".join(left), why)
    return told


def _make_folder(folder: Path) -> None:
    """Make the folder of the results now, not after hours.

    Raises:
        UserError: If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        raise UserError(f"benchmark.out: {str(there)!r} is a file; allowed: a folder") from None
    except OSError as error:
        raise UserError(
            f"benchmark.out: {str(folder)!r} cannot be made ({error.strerror}); allowed: a folder "
            "that can be written to"
        ) from None
    if not os.access(folder, os.W_OK):
        raise UserError(
            f"benchmark.out: {str(folder)!r} cannot be written to; allowed: a folder that can"
        )


def _able(
    names: Sequence[str], objectives: Sequence[str], table: RunTable, problem: str
) -> list[str]:
    """The policies that can do every objective: others would take it out of all means.

    A size that no run with all metrics of an objective has is no part of its pool.
    """
    from admire_pipeline.replay import policies
    from admire_pipeline.replay.problem import PoolProblem

    searched = {name: size for name in names if (size := policies.searched(name))}
    if problem == "simulator" or not searched:
        return list(names)
    sizes = {
        objective: [fidelity.name for fidelity in PoolProblem(table, objective).space.fidelities]
        for objective in objectives
    }
    lacking = {
        name: [objective for objective in objectives if size not in sizes[objective]]
        for name, size in searched.items()
    }
    told = [f"{name}, no run for {', '.join(of)}" for name, of in lacking.items() if of]
    able = [name for name in names if not lacking.get(name)]
    if not able:
        raise UserError(
            f"benchmark.policies: {'; '.join(told)}; allowed: objectives that runs of the size have"
        )
    if told:
        logger.warning("left out: %s", "; ".join(told))
    return able


def _default_policies(settings: BenchmarkSettings) -> tuple[str, ...]:
    """All policies that can run here; what one of them lacks must not stop the others."""
    if settings.quick:
        return QUICK_POLICIES
    if find_spec(NEEDED_BY_REGMIX) is not None:
        return EVERY_POLICY
    logger.warning(
        "regmix is left out: it needs %s (pip install 'admire-pipeline[benchmark]')",
        NEEDED_BY_REGMIX,
    )
    return tuple(name for name in EVERY_POLICY if name != "regmix")


def processes_of(settings: BenchmarkSettings) -> int:
    """How many processes to run: as configured, else one for each core of this process."""
    if settings.processes is not None:
        return settings.processes
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
