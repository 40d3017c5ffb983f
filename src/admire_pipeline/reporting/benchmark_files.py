"""The files of a benchmark's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.disk import save_atomically
from admire_pipeline.replay.aims import MFBO
from admire_pipeline.replay.summary import OURS, grid_of, shared, summarise
from admire_pipeline.replay.table import RunTable

if TYPE_CHECKING:
    import pandas as pd

CURVES = "curves.parquet"
SUMMARY = "summary.csv"
FIGURES = ("regret.png", "regret_published.png", "regret_by_objective.png", "fidelities.png")


def write_report(folder: Path, curves: pd.DataFrame, table: RunTable) -> list[Path]:
    """Write the curves, their summary and the figures of a benchmark.

    Args:
        folder: Where.
        curves: Columns as ``replay.jobs.COLUMNS``, all of one table and problem; without rows
            nothing is written.
        table: The runs that were replayed.

    Returns:
        The files.
    """
    from admire_pipeline.reporting.benchmark_figures import draw_fidelities, draw_regret

    if not len(curves):
        return []
    budget = float(curves["budget"].iloc[0])
    grid = grid_of(budget, table.fidelities[0].cost)
    summary = summarise(curves, grid)
    objectives = list(curves["objective"].unique())
    panels = _panels(objectives, shared(curves)["objective"].nunique(), table)
    figures = {
        "regret.png": draw_regret(curves, panels),
        "regret_published.png": draw_regret(curves, panels, value="published"),
    }
    if len(objectives) > 1:
        each = {name: (name,) for name in objectives}
        figures["regret_by_objective.png"] = draw_regret(curves, each, band=False)
    multi = curves.loc[curves["step"] > 0].groupby("policy")["fidelity"].nunique()
    shown = [name for name in (OURS, MFBO) if name in multi] or list(multi[multi > 1].index)
    if shown:
        order = [fidelity.name for fidelity in table.fidelities]
        figures["fidelities.png"] = draw_fidelities(curves, shown, order)
    save_atomically(folder / CURVES, lambda path: curves.to_parquet(path, index=False))
    save_atomically(folder / SUMMARY, lambda path: summary.to_csv(path, index=False))
    for name in FIGURES:
        if name in figures:
            save_atomically(folder / name, figures[name].savefig)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier command
    return [folder / name for name in (CURVES, SUMMARY, *figures)]


def _panels(objectives: list[str], whole: int, table: RunTable) -> dict[str, tuple[str, ...]]:
    """Panels of the main figure: the mean of all objectives, then the averages among them.

    Args:
        objectives: Their names.
        whole: How many of them all policies have.
        table: The runs.
    """
    if len(objectives) == 1 or not whole:
        return {name: (name,) for name in objectives}
    averages = [name for name in objectives if name not in table.metrics]
    title = f"mean of {whole} objective{'s' if whole > 1 else ''}"
    return {title: tuple(objectives)} | {name: (name,) for name in averages}
