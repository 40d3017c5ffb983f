"""Figures of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any  # matplotlib takes half a second to import; `kedro registry list` needs none of it

CURVE = "validation.bits_per_byte"


def draw_mixture(name: str, domains: Mapping[str, tuple[float, float]]) -> Figure:
    """A bar per domain.

    Args:
        name: Of the trial.
        domains: Weight and epochs per domain.
    """
    figure, axes = _figure(height=0.9 + 0.32 * len(domains))
    names = list(domains)[::-1]
    weights = [domains[domain][0] for domain in names]
    bars = axes.barh(names, weights, color="#3b6ea5")
    labels = [f"{domains[d][0]:.1%}, {domains[d][1]:.2f} epochs" for d in names]
    axes.bar_label(bars, labels, padding=4, fontsize=8)
    axes.set_xlim(0, max(weights) * 1.35)
    axes.set_xlabel("share of the training tokens")
    axes.set_title(name)
    return figure


def draw_curves(name: str, curves: Sequence[Mapping[str, float]]) -> Figure:
    """Training loss, and bits per byte on the validation domains, against optimizer steps.

    Args:
        name: Of the trial.
        curves: One entry per logged step: `step` and metrics.
    """
    import matplotlib

    figure, (left, right) = _figure(height=3.6, panels=2)
    losses = [(entry["step"], entry["loss"]) for entry in curves if "loss" in entry]
    if losses:
        left.plot(*zip(*losses, strict=True), color="#3b6ea5")
    left.set_ylabel("training loss (nats per token)")
    points = [entry for entry in curves if CURVE in entry]
    domains = sorted({key for entry in points for key in entry if key.startswith(f"{CURVE}.")})
    colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    steps = [entry["step"] for entry in points]
    for number, key in enumerate(domains):
        label = key.removeprefix(f"{CURVE}.")
        colour = colours[number % len(colours)]
        right.plot(steps, [e[key] for e in points], "o-", ms=3, lw=1, color=colour, label=label)
    if points:
        right.plot(steps, [e[CURVE] for e in points], "k--", lw=1.5, label="mean")
        right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    right.set_ylabel("validation bits per byte")
    for axes in (left, right):
        axes.set_xlabel("optimizer step")
    figure.suptitle(name)
    return figure


def _figure(height: float, panels: int = 1) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(5.0 * panels + 1.5, height), layout="constrained")
    axes = figure.subplots(1, panels)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes
