"""Replay policies, report the regrets, log them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admire_pipeline.pipelines.benchmark.plan import load_table, make_plan, processes_of
from admire_pipeline.pipelines.benchmark.settings import BenchmarkSettings

if TYPE_CHECKING:
    from admire_pipeline.replay.jobs import Plan
    from admire_pipeline.replay.runner import Outcome
    from admire_pipeline.tracking.benchmark import BenchmarkStore
else:
    # Kedro reads the types of a node's inputs; these are heavy to import.
    Plan = Outcome = BenchmarkStore = Any

logger = logging.getLogger(__name__)


def plan_benchmark(benchmark: BenchmarkSettings, store: BenchmarkStore) -> Plan:
    """Read the run table and settle what is replayed.

    Args:
        benchmark: The settings.
        store: The project's folder.

    Raises:
        UserError: One line about the first fault of the table, or a name that there is not.
    """
    table = load_table(benchmark, store.project)
    plan = make_plan(benchmark, table, store.project)
    sizes = ", ".join(
        f"{table.pool(size.name).sum()} of {len(table.rows(size.name))} runs of {size.name} in the "
        f"pool (cost {size.cost:.4g})"
        for size in table.fidelities
    )
    logger.info(
        "table %s, to %s: %d domains; %s", table.name, table.direction, len(table.domains), sizes
    )
    for note in table.notes:
        logger.info("table %s: %s", table.name, note)
    logger.info("%s, policies %s", plan.problem, ", ".join(plan.policies))
    logger.info("objectives %s", ", ".join(plan.objectives))
    most = f", at most {plan.max_trials} trials" if plan.max_trials else ""
    seeds = ",".join(map(str, plan.seeds))
    logger.info("seeds %s, budget %g%s, in %s", seeds, plan.budget, most, plan.folder)
    if plan.budget < 1:
        logger.warning(
            "a budget of %g pays for no training of the target: policies that use it alone "
            "recommend nothing",
            plan.budget,
        )
    return plan


def replay_policies(plan: Plan, benchmark: BenchmarkSettings) -> Outcome:
    """Replay every policy on every objective with every seed; what is finished is kept.

    Args:
        plan: What is replayed.
        benchmark: How many processes.
    """
    from admire_pipeline.replay.runner import run_plan

    outcome = run_plan(plan, processes_of(benchmark), redo=benchmark.redo)
    if outcome.outdated:
        logger.warning(
            "%d of %d finished campaigns are kept although their code has changed since; "
            "benchmark.redo=true runs them again",
            outcome.outdated,
            outcome.reused,
        )
    return outcome


def report_benchmark(plan: Plan, outcome: Outcome) -> list[Path]:
    """Write the curves, the summary and the figures.

    Args:
        plan: What was replayed.
        outcome: Its curves.

    Returns:
        The files.
    """
    from admire_pipeline.replay.summary import shared
    from admire_pipeline.reporting.benchmark_files import write_report

    def campaigns(curves: Any) -> int:
        return len(curves[["policy", "objective", "seed"]].drop_duplicates())

    whole = campaigns(shared(outcome.curves))
    if whole and (left := campaigns(outcome.curves) - whole):
        logger.warning(
            "campaigns that are not in the means, as a policy lacks their objective and seed: %d",
            left,
        )
    return write_report(plan.folder, outcome.curves, plan.table)


def log_benchmark(
    plan: Plan,
    outcome: Outcome,
    files: list[Path],
    benchmark: BenchmarkSettings,
    store: BenchmarkStore,
) -> dict[str, Any]:
    """Log the benchmark to MLflow.

    Args:
        plan: What was replayed.
        outcome: What came of it.
        files: The report's files.
        benchmark: The settings.
        store: Where to log.

    Returns:
        What the command prints at the end: ``folder``, ``seeds``, ``failures`` and ``campaigns``.
    """
    from admire_pipeline.replay.summary import headline

    failed = "; ".join(outcome.failures[:10])
    params = {
        **benchmark.model_dump(mode="json", include={"problem", "quick"}),
        "table": plan.table.name,
        "direction": plan.table.direction,
        "policies": ",".join(plan.policies),
        "objectives": ",".join(plan.objectives),
        "seeds": ",".join(map(str, plan.seeds)),
        "budget": plan.budget,
        "max_trials": plan.max_trials,
    }
    name = f"{plan.table.name} {plan.problem}"
    store.log(name, params, headline(outcome.curves), files, failed=failed)
    return {
        "folder": plan.folder,
        "seeds": plan.seeds,
        "failures": outcome.failures,
        "campaigns": len(plan.jobs()),
    }
