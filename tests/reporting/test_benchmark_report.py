"""The report of a benchmark: its figures, files and what the console shows."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from admire_pipeline.replay.jobs import JOBS, Plan
from admire_pipeline.replay.runner import run_plan
from admire_pipeline.replay.synthetic import made_up_table
from admire_pipeline.reporting.benchmark_console import print_benchmark
from admire_pipeline.reporting.benchmark_figures import draw_fidelities, draw_regret
from admire_pipeline.reporting.benchmark_files import write_report

TABLE = made_up_table("reversed", domains=4, runs=(30, 20, 15), metrics=2)


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("plan")
    plan = Plan(
        TABLE, "pool", ("random", "uniform"), ("average", "metric-1"), (0, 1, 2), 4, folder, folder
    )
    found = run_plan(plan, 1).curves
    # One more policy that changes its size on the way.
    mixed = found[found["policy"] == "random"].copy()
    mixed["policy"] = "admire"
    mixed.loc[mixed["step"].isin([1, 2]), "fidelity"] = "size-1"
    return pd.concat([found, mixed], ignore_index=True)


def texts(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def test_a_line_a_policy_with_units_and_a_legend(curves: pd.DataFrame) -> None:
    figure = draw_regret(curves, {"both": ("average", "metric-1"), "average": ("average",)})
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert {line.get_label() for line in axes.get_lines()} >= {"random", "uniform", "admire"}
    for text in ("trainings of the target", "normalised honest regret", "3 seeds", "95 %"):
        assert text in texts(figure)
    assert figure.legends


def test_a_well_known_policy_looks_the_same_whatever_stands_beside_it(curves: pd.DataFrame) -> None:
    names = ["random", "uniform", "admire", "admire-target", "regmix", "zero-shot-a", "zero-shot-b"]
    random = curves[curves["policy"] == "random"]
    lines = {}
    for policies in (names, names[::-2]):
        together = pd.concat([random.assign(policy=name) for name in policies])
        (axes,) = draw_regret(together, {"average": ("average",)}).axes
        lines[len(policies)] = {
            line.get_label(): (line.get_color(), line.get_linestyle())
            for line in axes.get_lines()
            if line.get_label() in names
        }
    for policy in ("random", "admire", "regmix"):
        assert lines[4][policy] == lines[7][policy]
    assert len(set(lines[7].values())) == 7


def test_costs_of_many_decades_are_drawn_on_a_logarithmic_axis(curves: pd.DataFrame) -> None:
    panels = {"average": ("average",)}
    assert draw_regret(curves, panels).axes[0].get_xscale() == "linear"
    cheap = curves.assign(cost=curves["cost"].where(curves["cost"] != 1, 0.001))
    assert draw_regret(cheap, panels).axes[0].get_xscale() == "log"


def test_many_policies_are_drawn_without_intervals_that_hide_each_other(
    curves: pd.DataFrame,
) -> None:
    one = curves[curves["policy"] == "random"]
    for count, bands in ((8, 8), (9, 0)):
        many = pd.concat([one.assign(policy=f"policy-{i}") for i in range(count)])
        figure = draw_regret(many, {"average": ("average",)})
        (axes,) = figure.axes
        assert (len(axes.collections), "95 %" in texts(figure)) == (bands, bands > 0)


def test_shares_of_fidelities_fill_the_whole(curves: pd.DataFrame) -> None:
    order = [fidelity.name for fidelity in TABLE.fidelities]
    figure = draw_fidelities(curves, ["admire"], order)
    share_of_trials = figure.axes[0]
    assert len(share_of_trials.collections) == 3
    tops = share_of_trials.collections[-1].get_paths()[0].vertices[:, 1]
    assert tops.max() == pytest.approx(1)
    # Two of three trials are of the smallest size, and then two of four: a step at a cost of 4.
    first = share_of_trials.collections[0].get_paths()[0].vertices
    ends = set(first[first[:, 0] == 4, 1].tolist())
    assert sorted(ends) == pytest.approx([0, 0.5, 2 / 3])


def test_the_files_of_a_report(curves: pd.DataFrame, tmp_path: Path) -> None:
    written = {path.name for path in write_report(tmp_path, curves, TABLE)}
    assert written == {path.name for path in tmp_path.iterdir()}
    figures = {"regret.png", "regret_published.png", "regret_by_objective.png", "fidelities.png"}
    assert written == {"curves.parquet", "summary.csv"} | figures
    assert write_report(tmp_path / "none", curves.iloc[:0], TABLE) == []


def test_tables_of_one_size_are_no_trouble(tmp_path: Path) -> None:
    table = made_up_table("transfer", domains=3, costs=(1.0,), runs=(12,), metrics=1)
    plan = Plan(table, "pool", ("random",), ("average",), (0,), 3, tmp_path, tmp_path)
    written = write_report(tmp_path / "out", run_plan(plan, 1).curves, table)
    assert "regret.png" in {path.name for path in written}
    assert run_plan(replace(plan, budget=0.5), 1).curves["cost"].max() == 0
    write_report(tmp_path / "poor", run_plan(replace(plan, budget=0.5), 1).curves, table)


def shown(folder: Path, seeds: range) -> str:
    console = Console(file=io.StringIO(), width=250)
    print_benchmark(folder, seeds, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_console_shows_measures_and_the_aims_it_knows_of(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    write_report(tmp_path / "here", curves, TABLE)
    text = shown(tmp_path / "here", range(3))
    for expected in ("random", "uniform", "less admire's", "seconds a proposal", "here"):
        assert expected in text
    assert "aims" not in text  # three seeds are too few, and there is no target-only policy
    (tmp_path / "beside" / JOBS).mkdir(parents=True)
    ours = curves[(curves["policy"] == "admire") & (curves["objective"] == "average")]
    for seed, objective, policy in product(range(6), "abcd", ("admire", "admire-target")):
        campaign = ours[ours["seed"] == seed % 3].assign(
            seed=seed, objective=objective, policy=policy
        )
        path = tmp_path / "beside" / JOBS / f"{policy}.{objective}.{seed}.key.parquet"
        campaign.reset_index(drop=True).to_parquet(path)
    text = shown(tmp_path / "here", range(6))
    assert "aims (seeds 0-5)" in text
    (line,) = [line for line in text.splitlines() if "reversed" in line and "target only" in line]
    assert line.split()[0] == "met" and "1.000 x" in line
    assert "not measured" in text
    assert "48 campaigns are kept although their code has changed since" in text
    write_report(tmp_path / "own", curves.assign(table="my-runs"), TABLE)
    assert "aims" not in shown(tmp_path / "own", range(6)), "they are of other tables"


def test_the_mean_is_drawn_of_what_all_policies_have(curves: pd.DataFrame, tmp_path: Path) -> None:
    random = curves["policy"] == "random"
    lacking = curves[~(random & (curves["objective"] == "metric-1"))]
    figure = draw_regret(lacking, {"both": ("average", "metric-1"), "average": ("average",)})
    both, average = (
        {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
        for axes in figure.axes
    )
    assert both["admire"] == average["admire"]
    write_report(tmp_path, lacking, TABLE)
    nothing_shared = curves[random == (curves["objective"] == "average")]
    write_report(tmp_path, nothing_shared, TABLE)
    assert "nothing to compare" in shown(tmp_path, range(3))
