"""Training speed of a trial against a bare PyTorch loop: same model, same batches, same run.

    python benchmarks/throughput.py [--env ENV] [--steps N] [--rounds N]

Prints tokens/s of both per fidelity, their ratio and the trial's model FLOPs utilisation (MFU): its
FLOPs (`training_flops`) of those that the GPU's data sheet promises. The rounds of both alternate,
so that other load on the machine falls on both alike; the median counts. The first third of a
training warms up (compilation, the GPU's memory) and is not measured. On a GPU also the peak of the
memory that the trial's tensors took, and its ratio to what `kedro admire plan` says of one device.
"""

from __future__ import annotations

import argparse
import copy
import logging
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.dataset import MixtureDataset
from admire_pipeline.training.estimate import GIB, Shape, estimate_memory, measure_shape
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.models import build_model
from admire_pipeline.training.settings import (
    FidelitySettings,
    Ladder,
    LaunchSettings,
    TrainingSettings,
)
from admire_pipeline.training.trainer import train_model
from admire_pipeline.training.work import GPUS

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure every fidelity of the ladder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default=None, help="Kedro environment")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps a round, >= 3")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each")
    arguments = parser.parse_args()
    logging.getLogger("admire_pipeline").setLevel(logging.WARNING)
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=arguments.env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        corpus = catalog.load("corpus")
        fidelities: Ladder = catalog.load("params:fidelities")
    compare(fidelities.root, corpus, arguments.steps, arguments.rounds)


def compare(
    fidelities: dict[str, FidelitySettings], corpus: Corpus, steps: int, rounds: int
) -> None:
    """Print the table, a line a fidelity."""
    print(  # noqa: T201
        f"{'fidelity':<14}{'trial tok/s':>12}{'bare tok/s':>12}{'ratio':>7}{'MFU':>7}"
        f"{'GiB':>7}{'of plan':>9}"
    )
    for name, fidelity in fidelities.items():
        trial, bare, peak = [], [], 0
        for _ in range(rounds):
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            trial.append(measure(fidelity, corpus, steps, bare=False))
            peak = max(peak, torch.cuda.max_memory_allocated())
            bare.append(measure(fidelity, corpus, steps, bare=True))
        ratio = statistics.median(t / b for t, b in zip(trial, bare, strict=True))
        speed = statistics.median(trial)
        shape = model_shape(fidelity, corpus)
        print(  # noqa: T201
            f"{name:<14}{speed:>12,.0f}{statistics.median(bare):>12,.0f}{ratio:>7.3f}"
            f"{utilisation(shape, speed):>7}{memory(shape, fidelity, peak)}",
            flush=True,
        )


def utilisation(shape: Shape, speed: float) -> str:
    """Model FLOPs utilisation at so many tokens/s, in percent; a dash where no peak is known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    known = [GPUS[word] for word in re.split("[ -]", name.lower()) if word in GPUS]
    return f"{shape.flops * speed / known[0].flops:.1%}" if known else "-"


def memory(shape: Shape, fidelity: FidelitySettings, peak: int) -> str:
    """A peak of so many bytes in GiB, and its ratio to the estimate; dashes without a GPU."""
    if not peak:
        return f"{'-':>7}{'-':>9}"
    # What is measured is one process, whatever the fidelity's launch says.
    alone = fidelity.model_copy(update={"launch": LaunchSettings()})
    return f"{peak / GIB:>7.1f}{peak / estimate_memory(shape, alone).total:>9.2f}"


def model_shape(fidelity: FidelitySettings, corpus: Corpus) -> Shape:
    """The shape of the fidelity's model."""
    length = fidelity.training.sequence_length
    with torch.device("meta"):
        model = build_model(fidelity.model, corpus, length, seed=0)
    return measure_shape(model.config, length, fidelity.model.lora)


def measure(fidelity: FidelitySettings, corpus: Corpus, steps: int, *, bare: bool) -> float:
    """Tokens per second of one training of `steps` optimizer steps."""
    settings = short(fidelity.training, steps)
    mixture = dict.fromkeys(corpus.domains, 1 / len(corpus.domains))
    plan = plan_mixture(mixture, settings.draws, settings.sequence_length, corpus, seed=0)
    dataset = MixtureDataset(plan, corpus)
    model = build_model(fidelity.model, corpus, settings.sequence_length, seed=0)
    if bare:
        stamps = bare_loop(model, dataset, settings)
    else:
        stamps = {}

        def note(_: Mapping[str, float], step: int) -> None:
            # The logged loss has been waited for: the GPU is done with the step.
            stamps.setdefault(step, time.monotonic())

        with tempfile.TemporaryDirectory() as folder:
            train_model(
                model,
                dataset,
                settings,
                Path(folder),
                0,
                note,
                lambda _: {},
            )
    first, last = min(step for step in stamps if step >= steps // 3), max(stamps)
    return (
        (last - first)
        * settings.step_sequences
        * settings.sequence_length
        / (stamps[last] - stamps[first])
    )


def short(settings: TrainingSettings, steps: int) -> TrainingSettings:
    """The recipe, for so many steps, without checkpoints and evaluations."""
    tokens = steps * settings.step_sequences * settings.sequence_length
    return settings.model_copy(
        update={"tokens": tokens, "examples": None, "evaluations": 0, "checkpoint_seconds": 1e9}
    )


def bare_loop(
    model: torch.nn.Module, dataset: MixtureDataset, settings: TrainingSettings
) -> dict[int, float]:
    """A plain training loop: AdamW, clipping, one-cycle rate, bf16 on a GPU.

    Returns:
        When it was done with a third of the steps and with all, in seconds of the clock.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = copy.deepcopy(model).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    size, accumulate = settings.batch_size, settings.gradient_accumulation
    steps = len(dataset) // (size * accumulate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps)
    forward = torch.compile(model) if settings.compile else model
    stamps = {}
    for step in range(1, steps + 1):
        for part in range(accumulate):
            first = ((step - 1) * accumulate + part) * size
            batch = dataset.__getitems__(range(first, first + size))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = forward(**{key: value.to(device) for key, value in batch.items()}).loss
            (loss / accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step in (steps // 3, steps):
            loss.item()  # waits for the GPU
            stamps[step] = time.monotonic()
    return stamps


if __name__ == "__main__":
    main()
