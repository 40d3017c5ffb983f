"""Training speed of a trial against a bare PyTorch loop: same model, same batches, same run.

    python benchmarks/throughput.py [--env ENV] [--steps N] [--rounds N]

Prints tokens/s of both per fidelity and their ratio. The rounds of both alternate, so that other
load on the machine falls on both alike; the median counts.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import tempfile
import time
from pathlib import Path

import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.mixing import MixtureDataset, plan_mixture
from admire_pipeline.training.models import build_model
from admire_pipeline.training.settings import FidelitySettings, Ladder, TrainingSettings
from admire_pipeline.training.trainer import train_model

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure every fidelity of the ladder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default=None, help="Kedro environment")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each")
    arguments = parser.parse_args()
    logging.getLogger("admire_pipeline").setLevel(logging.WARNING)
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=arguments.env) as session:
        catalog = session.load_context().catalog
        corpus = catalog.load("corpus")
        fidelities: Ladder = catalog.load("params:fidelities")
    print(f"{'fidelity':<10} {'trial tok/s':>12} {'bare tok/s':>12} {'ratio':>7}")  # noqa: T201
    for name, fidelity in fidelities.root.items():
        trial, bare = [], []
        for _ in range(arguments.rounds):
            trial.append(measure(fidelity, corpus, arguments.steps, bare=False))
            bare.append(measure(fidelity, corpus, arguments.steps, bare=True))
        ratio = statistics.median(t / b for t, b in zip(trial, bare, strict=True))
        print(  # noqa: T201
            f"{name:<10} {statistics.median(trial):>12,.0f} {statistics.median(bare):>12,.0f} "
            f"{ratio:>7.3f}"
        )


def measure(fidelity: FidelitySettings, corpus: Corpus, steps: int, *, bare: bool) -> float:
    """Tokens per second of one training of `steps` optimizer steps."""
    settings = short(fidelity.training, steps)
    mixture = dict.fromkeys(corpus.domains, 1 / len(corpus.domains))
    plan = plan_mixture(mixture, settings.sequences, settings.sequence_length, corpus, seed=0)
    dataset = MixtureDataset(plan, corpus)
    model = build_model(fidelity.model, corpus, settings.sequence_length, seed=0)
    if bare:
        return settings.tokens / bare_loop(model, dataset, settings)
    with tempfile.TemporaryDirectory() as folder:
        run = train_model(model, dataset, settings, Path(folder), 0, lambda *_: None, lambda _: {})
    return settings.tokens / run.seconds


def short(settings: TrainingSettings, steps: int) -> TrainingSettings:
    """The recipe, for so many steps, without checkpoints and evaluations."""
    tokens = steps * settings.batch_size * settings.gradient_accumulation * settings.sequence_length
    return settings.model_copy(
        update={"tokens": tokens, "evaluations": 0, "checkpoint_seconds": 1e9}
    )


def bare_loop(model: torch.nn.Module, dataset: MixtureDataset, settings: TrainingSettings) -> float:
    """Seconds of a plain training loop: AdamW, clipping, one-cycle rate, bf16 on a GPU."""
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
    start = time.monotonic()
    for step in range(steps):
        for part in range(accumulate):
            first = (step * accumulate + part) * size
            batch = dataset.__getitems__(range(first, first + size))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = model(**{key: value.to(device) for key, value in batch.items()}).loss
            (loss / accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - start


if __name__ == "__main__":
    main()
