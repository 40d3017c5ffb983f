"""The report of a benchmark, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def print_benchmark(folder: Path, seeds: Sequence[int], console: Console) -> None:
    """Print the policies' measures, and the aims that the curves here and beside tell about.

    Args:
        folder: A benchmark's results; those of others are in the folders beside it.
        seeds: The aims are measured on these.
        console: Where to.
    """
    import pandas as pd

    from admire_pipeline.replay.aims import AIMS
    from admire_pipeline.replay.jobs import JOBS
    from admire_pipeline.replay.summary import whole
    from admire_pipeline.reporting.benchmark_files import SUMMARY

    if (folder / SUMMARY).exists():
        # An objective may be called NA.
        summary = pd.read_csv(folder / SUMMARY, keep_default_na=False, na_values=[""])
        shown = whole(summary).sort_values("area")
        if len(shown):
            console.print(_regrets(shown))
            console.print(_costs(shown))
        else:
            console.print("no objective and seed that all policies have: nothing to compare")
        if summary["table"].iloc[0] in {aim.table for aim in AIMS}:
            others = sorted(path.parent for path in folder.parent.glob(f"*/{JOBS}"))
            print_aims([folder, *(other for other in others if other != folder)], seeds, console)
    console.print(f"results in {folder}", soft_wrap=True, highlight=False)


def print_aims(folders: Sequence[Path], seeds: Sequence[int], console: Console) -> None:
    """Print which aims are met; nothing where the curves tell of none.

    Args:
        folders: Benchmarks' results.
        seeds: To measure on.
        console: Where to.
    """
    from admire_pipeline.replay.aims import AIMS, NotMeasured, outdated, read_curves

    curves = read_curves(folders, seeds)
    title = f"aims (seeds {_ranges(seeds)})"
    if old := outdated(curves):
        title += f"\n{old} campaigns are kept although their code has changed since"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in ("problem", "measure", "aim", "admire", "beside it"):
        table.add_column(column)
    measured = False
    for aim in AIMS:
        try:
            found = aim.check(curves)
        except NotMeasured as missing:
            table.add_row("not measured", aim.problem, aim.measure, aim.aim, "", str(missing))
            continue
        measured = True
        verdict = Text("met", "green") if found.met else Text("not met", "red")
        table.add_row(verdict, aim.problem, aim.measure, aim.aim, found.value, found.beside)
    if measured:
        console.print(table)


def _regrets(summary: pd.DataFrame) -> Table:
    """Regret at each cost, and on average up to the budget."""
    first = summary.iloc[0]
    at = [name for name in map(str, summary.columns) if name.startswith("honest@")]
    table = _table(
        f"{first['table']} {first['problem']}, objective {first['objective']}, "
        f"{first['seeds']} seeds\nnormalised honest regret at a cost"
    )
    for name in at:
        table.add_column(name.partition("@")[2], justify="right")
    table.add_column(f"mean to {first['budget']:g}", justify="right")
    table.add_column("less admire's (95 %)", justify="right", no_wrap=True)
    for _, row in summary.iterrows():
        gap, less = row.get("area_less_ours", math.nan), ""
        if not math.isnan(gap):
            low, high = row["area_less_ours_low"], row["area_less_ours_high"]
            less = f"{gap:+.3f}"
            if not math.isnan(low):
                less += f" ({low:+.3f}, {high:+.3f})"
        values = [f"{row[name]:.3f}" for name in [*at, "area"]]
        table.add_row(row["policy"], *values, less)
    return table


def _costs(summary: pd.DataFrame) -> Table:
    """Cost to reach each regret, and what a proposal takes."""
    reach = [name for name in map(str, summary.columns) if name.startswith("reach@")]
    table = _table("cost from which on the mean regret stays at or below")
    for name in reach:
        table.add_column(name.partition("@")[2], justify="right")
    table.add_column("trials", justify="right")
    table.add_column("seconds a proposal", justify="right")
    for _, row in summary.iterrows():
        costs = [f"{row[name]:.3g}" if math.isfinite(row[name]) else "-" for name in reach]
        trials, seconds = f"{row['trials']:.0f}", f"{row['seconds_per_proposal']:.3g}"
        seconds = seconds if row["trials"] else "-"
        table.add_row(row["policy"], *costs, trials, seconds)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    return table


def _ranges(seeds: Sequence[int]) -> str:
    """The seeds, consecutive ones as a range."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and parts[-1][-1] == seed - 1:
            parts[-1][-1:] = [parts[-1][-1], seed] if len(parts[-1]) == 1 else [seed]
        else:
            parts.append([seed])
    return ",".join("-".join(map(str, part)) for part in parts)
