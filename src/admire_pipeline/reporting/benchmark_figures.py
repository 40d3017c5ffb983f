"""Figures of a benchmark: regret against cost, and which fidelities a policy chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from admire_pipeline.replay.measures import LEAST_SEEDS, Curve, bootstrap_interval, mean_curve
from admire_pipeline.replay.summary import OURS, curves_by_seed, shared

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Most colours are of Okabe and Ito (2008), told apart by readers with any kind of colour vision.
# These policies look the same in every figure, others as they come. Ours is the thickest; its
# search of the target alone often goes the same way, and lies on it, dashed: both are seen.
_STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#d55e00", "ls": "-", "lw": 2.6, "zorder": 2.5},
    "admire-target": {"color": "#000000", "ls": "--", "lw": 1.4, "zorder": 2.6},
    "admire-bo": {"color": "#0072b2", "ls": "-", "lw": 1.4},
    "admire-mfbo": {"color": "#009e73", "ls": "-", "lw": 1.4},
    "random": {"color": "#999999", "ls": "-", "lw": 1.4},
    "regmix": {"color": "#cc79a7", "ls": "-", "lw": 1.4},
    "uniform": {"color": "#e69f00", "ls": "-", "lw": 1.4},
}
_OTHERS = ("#56b4e9", "#332288", "#882255", "#117733")
_DASHES = ("-", "--", ":", "-.")
_POINTS = 200
_DECADES = 2.0
"""Costs that span more than so many powers of ten are drawn on a logarithmic axis."""

_MOST_BANDS = 8
"""Intervals of more policies lie on each other and hide the lines."""

_LEGEND_LINE = 0.2
"""Inches of a policy in the legend, which stands beside the panels."""

_COST = "cost (trainings of the target)"


def draw_regret(
    curves: pd.DataFrame,
    panels: Mapping[str, tuple[str, ...]],
    *,
    value: str = "honest",
    band: bool = True,
) -> Figure:
    """Normalised regret against cumulative cost, one line a policy.

    Args:
        curves: Columns as ``replay.jobs.COLUMNS``, all of one table and problem.
        panels: Title of each panel and the objectives that it averages over. Of several, or of the
            only one there is, it shows the campaigns that all policies have.
        value: ``honest`` or ``published``.
        band: Whether to draw the 95 % intervals of the mean over seeds, of up to eight policies.
    """
    import numpy as np

    columns = 5 if len(panels) > 6 else 2 if len(panels) == 4 else min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    width, height = (4.2, 3.4) if columns <= 3 else (2.9, 2.4)
    styles = _styles(list(curves["policy"].unique()))
    tall = max(height * rows + 0.5, _LEGEND_LINE * len(styles) + 1)
    figure, grid = _figure(rows, columns, width * columns + 1.6, tall)
    band = band and len(styles) <= _MOST_BANDS
    alone = curves["objective"].nunique() == 1
    for axes, (title, objectives) in zip(grid, panels.items(), strict=False):
        part = curves[curves["objective"].isin(objectives)]
        if (len(objectives) > 1 or alone) and len(whole := shared(part)):
            part = whole
        costs, log = _costs(part)
        for policy, style in styles.items():
            frame = part[part["policy"] == policy]
            if not len(frame):
                continue
            of_seeds = [curve.at(costs) for curve in curves_by_seed(frame, value).values()]
            banded = band and len(of_seeds) >= LEAST_SEEDS
            _draw_line(axes, costs, of_seeds, policy, style, band=banded)
        axes.set_title(_plain(title), fontsize=10)
        # The lines decide, not their bands, which are wide where a policy knows nothing yet.
        highest = max([1.0, *(float(np.max(line.get_ydata())) for line in axes.get_lines())])
        axes.set_ylim(-0.03 * highest, 1.08 * highest)
        axes.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
        axes.axhline(1, color="#bbbbbb", lw=0.8, ls=":", zorder=0)
        if log:
            _use_log_axis(axes)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(_COST, fontsize=10)
    figure.supylabel(f"normalised {value} regret\n(0: the best, 1: {_one(curves)})", fontsize=10)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    seeds = curves["seed"].nunique()
    banded = band and seeds >= LEAST_SEEDS
    about = f"mean over {seeds} seeds{', 95 % interval' if banded else ''}"
    figure.suptitle(f"{_problem(curves)}: {value} regret\n{about}", fontsize=11)
    return figure


def draw_fidelities(curves: pd.DataFrame, policies: Sequence[str], order: Sequence[str]) -> Figure:
    """Share of the fidelities in the trials, and in the cost, up to each cumulative cost.

    Args:
        curves: Columns as ``replay.jobs.COLUMNS``, all of one table and problem.
        policies: Those to draw, a row each.
        order: Names of the fidelities, from small to large.
    """
    figure, grid = _figure(len(policies), 2, 9.6, 2.7 * len(policies) + 0.6)
    palette = ("#f0e442", "#56b4e9", "#0072b2", "#009e73", "#cc79a7", "#999999", "#000000")
    for row, policy in enumerate(policies):
        part = curves[curves["policy"] == policy]
        costs, log = _costs(part)
        for column, (what, title) in enumerate((("trials", "trials"), ("cost", "cost"))):
            axes = grid[2 * row + column]
            shares = _shares(part, order, costs, what)
            colours = [palette[i % len(palette)] for i in range(len(order))]
            names = list(map(_plain, order))
            axes.stackplot(costs, *shares, labels=names, colors=colours, lw=0, step="post")
            axes.set_title(f"{policy}: share of the {title} so far", fontsize=10)
            axes.set_ylim(0, 1)
            axes.set_xlim(costs[0], costs[-1])
            if log:
                _use_log_axis(axes)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        title="fidelity",
        loc="outside right center",
        frameon=False,
        fontsize=9,
    )
    figure.supxlabel(_COST, fontsize=10)
    figure.suptitle(f"{_problem(curves)}: fidelities chosen, mean of all campaigns", fontsize=11)
    return figure


def _draw_line(  # noqa: PLR0913
    axes: Axes,
    costs: np.ndarray,
    of_seeds: Sequence[np.ndarray],
    policy: str,
    style: dict[str, Any],
    *,
    band: bool,
) -> None:
    import numpy as np

    values = np.array(of_seeds)
    axes.plot(costs, values.mean(axis=0), label=policy, drawstyle="steps-post", **style)
    if band:
        intervals = [bootstrap_interval(column) for column in values.T]
        axes.fill_between(
            costs,
            [interval.low for interval in intervals],
            [interval.high for interval in intervals],
            step="post",
            color=style["color"],
            alpha=0.12,
            lw=0,
        )


def _styles(policies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, dashes and width of each policy."""
    styles = {policy: style for policy, style in _STYLES.items() if policy in policies}
    for number, policy in enumerate(policy for policy in policies if policy not in _STYLES):
        hue, dashes = divmod(number, len(_DASHES))
        colour = _OTHERS[hue % len(_OTHERS)]
        styles[policy] = {"color": colour, "ls": _DASHES[dashes], "lw": 1.4}
    return styles


def _costs(curves: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """Costs to draw at, and whether on a logarithmic axis."""
    import numpy as np

    budget = float(curves["budget"].max())
    paid = curves.loc[curves["cost"] > 0, "cost"]
    least = float(paid.min()) if len(paid) else budget / 100
    if math.log10(budget / least) > _DECADES:
        return np.geomspace(least, budget, _POINTS), True
    return np.linspace(0, budget, _POINTS), False


def _use_log_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda cost, _: f"{cost:g}")


def _shares(
    curves: pd.DataFrame, order: Sequence[str], costs: np.ndarray, what: str
) -> list[np.ndarray]:
    """Mean share (``len(costs)``) of each fidelity in the trials or their cost so far."""
    import numpy as np

    shares: list[list[Curve]] = [[] for _ in order]
    for _, campaign in curves.groupby(["objective", "seed"]):
        steps = campaign.sort_values("step")
        total = steps["cost"].to_numpy(float)
        weight = np.ones(len(steps)) if what == "trials" else np.diff(total, prepend=0.0)
        weight[0] = 0.0
        for number, name in enumerate(order):
            counts = np.cumsum(weight * (steps["fidelity"] == name).to_numpy())
            all_so_far = np.maximum(np.cumsum(weight), 1e-300)
            shares[number].append(Curve(total, counts / all_so_far))
    return [mean_curve(of_size).at(costs) for of_size in shares]


def _problem(curves: pd.DataFrame) -> str:
    first = curves.iloc[0]
    return _plain(f"{first['table']}, {first['problem']}")


def _one(curves: pd.DataFrame) -> str:
    """What a regret of 1 is."""
    pool = curves["problem"].iloc[0] == "pool"
    return "a random run of the pool" if pool else "the mean of the table's mixtures"


def _plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(width, height), layout="constrained", dpi=130)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, list(grid.flat)
