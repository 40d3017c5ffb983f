"""The reports of a step and of a campaign, for a terminal."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

LOSS = "bits_per_byte."
"""Before a domain's name: the metric of its validation text."""

BAR = 16
"""Characters of a full bar."""


def print_report(report: Mapping[str, Any], tracking_uri: str, console: Console) -> None:
    """Print the trial, the recommendation, the budget and how to open the MLflow UI."""
    console.print(Group(*_trial(report["trial"], report["recommendation"])), highlight=False)
    _print_campaign(report["campaign"], tracking_uri, console)


def print_recommendation(report: Mapping[str, Any], tracking_uri: str, console: Console) -> None:
    """Print a campaign's recommendation, its trials, the budget and how to open the MLflow UI."""
    campaign, best = report["campaign"], report["recommendation"]
    statuses = ", ".join(f"{count} {status}" for status, count in campaign["statuses"].items())
    lines: list[RenderableType] = [Text(f"\ncampaign  {campaign['name']}: trials {statuses}")]
    if best:
        table = Table("domain", box=None, pad_edge=False)
        table.add_column("recommended", justify="right")
        table.add_column("")
        largest = max(best["mixture"].values())
        for domain, weight in best["mixture"].items():
            table.add_row(domain, f"{weight:.1%}", _bar(weight, largest))
        lines += [table, _best(best), *_constraints(best)]
    else:
        lines.append(Text("best    too few trials yet to recommend a mixture"))
    console.print(Group(*lines), highlight=False)
    _print_campaign(campaign, tracking_uri, console)


def _print_campaign(campaign: Mapping[str, Any], tracking_uri: str, console: Console) -> None:
    console.print(
        f"budget  spent {campaign['spent']:.3f} of {campaign['budget']:g} in "
        f"{campaign['trials']} trials (unit: one training of the target)",
        highlight=False,
        soft_wrap=True,
    )
    if (costs := campaign["costs"])["origin"] == "measured":
        learned = ", ".join(f"{name} {cost:.3g}" for name, cost in costs["next"].items())
        console.print(f"costs   as measured so far: {learned}", highlight=False, soft_wrap=True)
    console.print(
        f"look    make ui   or   {ui_command(tracking_uri)}", highlight=False, soft_wrap=True
    )


def progress_line(report: Mapping[str, Any]) -> str:
    """One line for one step of a longer run."""
    trial, best = report["trial"], report["recommendation"]
    campaign = report["campaign"]
    predicted = f"{best['score_mean']:.4f} ± {best['score_sd']:.4f}" if best else ""
    return (
        f"{trial['name']}  score {trial['score']:.4f}  cost {trial['cost']:.3f}  "
        f"spent {campaign['spent']:.3f}/{campaign['budget']:g}  "
        + (f"recommended, predicted {predicted}" if best else "")
    )


def ui_command(tracking_uri: str) -> str:
    """The command that shows the campaign's runs."""
    if tracking_uri.startswith(("http://", "https://")):
        return f"open {shlex.quote(tracking_uri)}"
    return f"mlflow ui --host 127.0.0.1 --backend-store-uri {shlex.quote(tracking_uri)}"


def _trial(trial: Mapping[str, Any], best: Mapping[str, Any]) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False)
    table.add_column("domain")
    table.add_column("mixture", justify="right")
    table.add_column("")
    if best:
        table.add_column("recommended", justify="right")
    table.add_column("bits per byte", justify="right")
    # Before the target was tried its level is a guess, and so is each metric's.
    predicted = best["metrics"] if best and best["target_trials"] else {}
    if predicted:
        table.add_column("predicted", justify="right")
    measured = {
        name.removeprefix(LOSS): value
        for name, value in trial["metrics"].items()
        if name.startswith(LOSS)
    }
    largest = max(trial["mixture"].values())
    for domain in [*trial["mixture"], *sorted(set(measured) - set(trial["mixture"]))]:
        weight = trial["mixture"].get(domain)
        row = (
            [domain, "-", ""]
            if weight is None
            else [domain, f"{weight:.1%}", _bar(weight, largest)]
        )
        if best:
            row.append("-" if weight is None else f"{best['mixture'][domain]:.1%}")
        row.append(f"{measured[domain]:.4f}" if domain in measured else "-")
        if predicted:
            metric = predicted.get(f"{LOSS}{domain}")
            row.append(f"{metric['mean']:.4f}" if metric else "-")
        table.add_row(*row)
    error = trial["score_standard_error"]
    lines: list[RenderableType] = [
        Text(
            f"\ntrial   {trial['name']}  ({trial['policy']}, {trial['phase']})"
            f"  run {trial['run_id']}"
        ),
        table,
        *_tasks(trial["metrics"], predicted),
        Text(
            f"score   {trial['score']:.4f}"
            + (f" ± {error:.4f}" if error is not None else "")
            + f"   cost {trial['cost']:.3f}   fidelity {trial['fidelity']}"
        ),
    ]
    if best:
        lines += [_best(best), *_constraints(best)]
    return lines


def _best(best: Mapping[str, Any]) -> Text:
    origin = f"evaluated in {best['trial']}" if best["trial"] else "not evaluated yet"
    # Small sizes tell which mixture is better, not how good the target will be.
    guess = "" if best["target_trials"] else "; no trial there yet: a guess"
    return Text(
        f"best    predicted score {best['score_mean']:.4f} ± {best['score_sd']:.4f} at "
        f"{best['fidelity']}{guess}; the recommended mixture above is {origin}"
    )


def _constraints(best: Mapping[str, Any]) -> Iterator[Text]:
    """How surely the recommended mixture keeps each constraint."""
    for constraint in best["constraints"]:
        side = "at_least" if "at_least" in constraint else "at_most"
        rule = f"must    {constraint['metric']} {side.replace('_', ' ')} {constraint[side]:g}: "
        probability, asked = constraint["predicted_probability"], constraint["probability"]
        if probability is None:
            yield Text(f"{rule}no trial has measured it yet")
            continue
        metric = best["metrics"][constraint["metric"]]
        # Rounded down: what falls short must not look as if it did not.
        told = math.floor(probability * 1000) / 1000
        short = f", short of {asked:g}" if probability < asked else ""
        guess = "" if best["target_trials"] else "; no trial there yet: a guess"
        yield Text(
            f"{rule}predicted {metric['mean']:.4f} ± {metric['sd']:.4f}, "
            f"kept with probability {told:.3f}{short}{guess}"
        )


def _tasks(
    metrics: Mapping[str, float], predicted: Mapping[str, Mapping[str, float]]
) -> list[RenderableType]:
    """Metrics other than validation losses, where there are any."""
    names = [name for name in metrics if not name.startswith(LOSS)]
    if not names:
        return []
    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    table.add_column("measured", justify="right")
    if predicted:
        table.add_column("predicted", justify="right")
    for name in names:
        row = [name, f"{metrics[name]:.4f}"]
        if predicted:
            row.append(f"{predicted[name]['mean']:.4f}" if name in predicted else "-")
        table.add_row(*row)
    return [table]


def _bar(weight: float, largest: float) -> str:
    return "█" * max(1 if weight > 0 else 0, round(BAR * weight / largest))
