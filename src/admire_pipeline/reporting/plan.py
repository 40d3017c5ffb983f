"""The plan of a campaign, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from admire_pipeline.training.available import Need
from admire_pipeline.training.estimate import GIB
from admire_pipeline.training.plan import Estimate, Plan
from admire_pipeline.training.settings import FidelitySettings
from admire_pipeline.training.work import UTILISATION, CorpusDisk


def print_plan(plan: Plan, budget: float, token: bool, console: Console) -> None:
    """Print what each fidelity takes, what the budget pays for, and what is needed.

    Args:
        plan: Of the campaign.
        budget: In the campaign's unit.
        token: Whether a token for the Hugging Face Hub is set.
        console: Where to.
    """
    console.print(_fidelities(plan), highlight=False)
    console.print(_budget(plan, budget), highlight=False, soft_wrap=True)
    console.print()
    console.print(_needs(plan.needs), highlight=False)
    for line in _closing(plan, token):
        console.print(line, highlight=False, soft_wrap=True)


def _fidelities(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in plan.fidelities:
        table.add_column(name, justify="right", overflow="fold")
    columns = [
        {**_settings(fidelity, plan), **_estimates(plan.estimates[name], fidelity, plan)}
        for name, fidelity in plan.fidelities.items()
    ]
    for title in dict.fromkeys(title for column in columns for title in column):
        table.add_row(title, *(column.get(title, "?") for column in columns))
    return table


def _settings(fidelity: FidelitySettings, plan: Plan) -> dict[str, RenderableType]:
    """What the config says of a fidelity, by title."""
    model, training = fidelity.model, fidelity.training
    ways = ["full" if model.lora is None else f"LoRA {model.lora.rank}", model.attention]
    ways += ["checkpointing"] * training.gradient_checkpointing
    examples = training.unit == "examples"
    budget = training.draws * (1 if examples else training.sequence_length)
    return {
        "model": model.checkpoint or f"{(model.config or {})['model_type']} from scratch",
        "revision": _revision(model.revision if model.on_hub else ""),
        "training": ", ".join(ways),
        "devices": f"{fidelity.launch.processes} x {plan.gpu.name}",
        "a trial": f"{budget:,} {training.unit}",
        "cost": f"{fidelity.cost:g}",
    }


def _estimates(
    estimate: Estimate | None, fidelity: FidelitySettings, plan: Plan
) -> dict[str, RenderableType]:
    """What a trial of a fidelity takes, by title; nothing where its shape is not known."""
    if estimate is None:
        return {}
    work, memory, shape = estimate.work, estimate.memory, estimate.shape
    most = "" if work.exact else "<= "
    trained = "" if shape.trained == shape.parameters else f" ({shape.trained:,} trained)"
    states = memory.gradients + memory.optimizer
    total = Text(_number(memory.total / GIB))
    if memory.total > plan.gpu.memory:
        total = Text(f"{memory.total / GIB:,.1f} > {plan.gpu.memory / GIB:,.0f}", "red")
    return {
        "parameters": f"{shape.parameters:,}{trained}",
        "tokens": f"{most}{work.tokens:,}",
        "sequences": f"{most}{work.sequences:,}",
        "optimizer steps": f"{most}{work.steps:,}",
        "FLOPs": f"{most}{work.flops:.1e}",
        "hours": most + _number(estimate.hours),
        "GPU hours": most + _number(estimate.hours * fidelity.launch.processes),
        "GiB a device": total,
        "  weights": _number((memory.weights + memory.copies) / GIB),
        "  gradients, AdamW": _number(states / GIB),
        "  activations": _number(memory.activations / GIB),
        "  logits": _number(memory.logits / GIB),
        "GiB of the machine": _number(estimate.host / GIB),
        "GB of checkpoints": _number(estimate.checkpoints / 1e9),
        "GB of a kept model": _number(estimate.model / 1e9),
    }


def _number(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2g}"


def _budget(plan: Plan, budget: float) -> str:
    names = list(plan.fidelities)
    small, target = names[0], names[-1]
    trials = {name: budget / plan.fidelities[name].cost for name in (target, small)}
    line = f"budget  {budget:g} pays for {trials[target]:,.0f} trials of {target}"
    if small != target:
        line += f", or {trials[small]:,.0f} of {small}"
    if (estimate := plan.estimates[target]) is not None:
        hours = trials[target] * estimate.hours * plan.fidelities[target].launch.processes
        line += (
            f": {'about' if estimate.work.exact else 'at most about'} {_number(hours)} GPU hours"
        )
    return f"{line} (of training, at {UTILISATION:.0%} of the peak of {plan.gpu.name})"


def _needs(needs: Sequence[Need]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("needed for", "from", "revision", "looked for in", ""):
        table.add_column(title, overflow="fold")
    together: dict[Need, list[str]] = {}
    for need in needs:
        # Many domains may come from one dataset.
        together.setdefault(replace(need, what=""), []).append(need.what)
    for need, names in together.items():
        state = Text("there", "green") if need.found else Text("missing", "red")
        what = ", ".join(names)
        table.add_row(what, need.source, _revision(need.revision), need.place, state)
    return table


def _revision(revision: str | None) -> Text:
    return Text("not pinned", "red") if revision is None else Text(revision[:12])


def _corpus(disk: CorpusDisk) -> str:
    shards, copies = _number(disk.shards / 1e9), _number(disk.copies / 1e9)
    return (
        f"corpus  at most {shards} GB of tokens, and {copies} GB of text while a domain is built "
        f"(of {disk.domains} domains with max_bytes)"
    )


def _closing(plan: Plan, token: bool) -> list[str]:
    lines = [] if plan.corpus is None else [_corpus(plan.corpus)]
    lines.append(f"token   {'set' if token else 'not set'}; private and gated sources need one")
    estimates = plan.estimates.values()
    if any(estimate is None for estimate in estimates):
        lines.append("?       a checkpoint that is away: model.shape tells its size")
    if any(estimate is not None and not estimate.work.exact for estimate in estimates):
        lines.append(
            "<=      if every example were of full length; --example-tokens tells their mean"
        )
    missing = len(plan.missing)
    lines.append(f"missing {missing or 'nothing'}" + (f" of {len(plan.needs)}" if missing else ""))
    return lines
