"""The files of a benchmark's report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.disk import sync_file
from admire_pipeline.replay.aims import MFBO
from admire_pipeline.replay.summary import OURS, grid_of, summarise
from admire_pipeline.replay.table import RunTable

if TYPE_CHECKING:
    import pandas as pd

CURVES = "curves.parquet"
SUMMARY = "summary.csv"

_PANELS = 3


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
    panels, singles = _panels(list(curves["objective"].unique()), table)
    figures = {
        "regret.png": draw_regret(curves, panels),
        "regret_published.png": draw_regret(curves, panels, value="published"),
    }
    if len(singles) > 1:
        each = {name: (name,) for name in singles}
        figures["regret_by_objective.png"] = draw_regret(curves, each, band=False)
    multi = curves.loc[curves["step"] > 0].groupby("policy")["fidelity"].nunique()
    shown = [name for name in (OURS, MFBO) if name in multi] or list(multi[multi > 1].index)
    if shown:
        order = [fidelity.name for fidelity in table.fidelities]
        figures["fidelities.png"] = draw_fidelities(curves, shown, order)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write(folder / CURVES, lambda path: curves.to_parquet(path, index=False)),
        _write(folder / SUMMARY, lambda path: summary.to_csv(path, index=False)),
        *(
            _write(folder / name, lambda path, figure=figure: figure.savefig(path))  # type: ignore[misc]
            for name, figure in figures.items()
        ),
    ]


def _panels(objectives: list[str], table: RunTable) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Panels of the main figure: the mean of all, then the averages; and the objectives."""
    panels = {}
    if len(objectives) > 1:
        panels[f"mean of {len(objectives)} objectives"] = tuple(objectives)
    averages = [name for name in objectives if name not in table.metrics]
    for name in [*averages, *(n for n in objectives if n in table.metrics)][:_PANELS]:
        panels[name] = (name,)
    return panels, objectives


def _write(path: Path, save: Callable[[Path], object]) -> Path:
    """Write a file whole or not at all; its ending says the format."""
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    save(aside)
    sync_file(aside)
    aside.replace(path)
    return path
