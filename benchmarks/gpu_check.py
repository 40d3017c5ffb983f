"""A campaign on a GPU, and how well its trainings use it.

    python benchmarks/gpu_check.py [--trials 6] [--steps 60] [--rounds 2]

Runs so many trials of `conf/gpu` (again: continues them), then compares each of its fidelities, and
a model of Qwen2.5-0.5B's shape with random weights, with a bare PyTorch loop (`throughput.py`);
where the package liger-kernel is installed, with its fused kernels too. At last one trial without a
launch configuration, and the same by each file in `conf/accelerate` (DeepSpeed's where it is
installed), spread over one process: what several GPUs run (NCCL, FSDP2, ZeRO-3), but for their talk
with each other.
Aims: a ratio of 0.95, and 40 % MFU from 200 million parameters on.
"""

from __future__ import annotations

import argparse
import logging
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from throughput import PROJECT, compare

from admire_pipeline.errors import UserError
from admire_pipeline.session import InterruptibleSession
from admire_pipeline.tracking import Trial, TrialStatus
from admire_pipeline.training.command import check_config_file
from admire_pipeline.training.settings import (
    FidelitySettings,
    Ladder,
    LaunchSettings,
    ModelSettings,
)

Params = dict[str, Any]
"""What a run changes of the environment's parameters."""

QWEN = ModelSettings(
    config={
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    }
)
"""The shape of Qwen2.5-0.5B (its config.json on the Hugging Face Hub)."""

UNBOUNDED: Params = {"campaign": {"budget": 1e6}}
"""As many trials as are asked for."""

LAUNCHED = "60M"
"""The fidelity that is trained once by each launch configuration."""


def main() -> None:
    """Run the campaign, print its trials, then the speeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6, help="trials of the campaign")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps a round")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no GPU on this machine")
    bootstrap_project(PROJECT)
    while len(observed(UNBOUNDED)) < arguments.trials:
        step(UNBOUNDED)
    logging.getLogger("admire_pipeline").setLevel(logging.WARNING)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")  # noqa: T201
    print(f"{'trial':<18}{'fidelity':<10}{'cost':>6}{'score':>9}")  # noqa: T201
    for trial in observed(UNBOUNDED):
        print(  # noqa: T201
            f"{trial.name:<18}{trial.fidelity:<10}{trial.cost:>6.2f}{trial.score:>9.4f}"
        )
    with KedroSession.create(PROJECT, env="gpu", runtime_params=UNBOUNDED) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        corpus = catalog.load("corpus")
        ladder: Ladder = catalog.load("params:fidelities")
    target = list(ladder.root.values())[-1]
    training = target.training.model_copy(update={"batch_size": 16})
    qwen = FidelitySettings(cost=1.0, model=QWEN, training=training)
    measured = {**ladder.root, "Qwen2.5-0.5B": qwen}
    if find_spec("liger_kernel") is not None:
        # More tokens/s in a trial than in the line before say that it pays. It comes last: Liger
        # changes the model's classes, also for the bare loop after it.
        liger = training.model_copy(update={"liger": True, "compile": False})
        measured["same, Liger"] = qwen.model_copy(update={"training": liger})
    print()  # noqa: T201
    compare(measured, corpus, arguments.steps, arguments.rounds)
    torch.cuda.empty_cache()  # a launched trial is another process on the same GPU
    print(f"\n{'launched by':<18}{'seconds':>8}{'score':>9}")  # noqa: T201
    for config in (None, *launch_configs(ladder.root[LAUNCHED])):
        params = launched(config)
        begin = time.monotonic()
        step(params)
        seconds = time.monotonic() - begin
        by = Path(config).name if config else "nothing"
        print(f"{by:<18}{seconds:>8.0f}{observed(params)[-1].score:>9.4f}", flush=True)  # noqa: T201


def launch_configs(fidelity: FidelitySettings) -> list[str]:
    """The files of `conf/accelerate` that launch it here; of the others a line why not."""
    configs = []
    for file in sorted((PROJECT / "conf/accelerate").glob("*.yaml")):
        launch = LaunchSettings(config=str(file.relative_to(PROJECT)))
        spread = fidelity.model_copy(update={"launch": launch})
        try:
            check_config_file(spread, PROJECT, f"fidelities.{LAUNCHED}")
        except UserError as error:
            print(f"{file.name:<18}left out: {error}")  # noqa: T201
        else:
            configs.append(str(launch.config))
    return configs


def launched(config: str | None) -> Params:
    """One short trial of `LAUNCHED`, spread by this file, in a campaign of its own."""
    training = {"tokens": 2**21, "compile": False}
    launch = {"processes": 1, "config": config}
    return {
        "campaign": {"name": f"gpu-check-{Path(config or 'alone').stem}", "budget": 1e6},
        "worker": {"fidelities": [LAUNCHED]},
        "fidelities": {LAUNCHED: {"training": training, "launch": launch}},
    }


def step(params: Params) -> None:
    """One step of the campaign."""
    with InterruptibleSession.create(PROJECT, env="gpu", runtime_params=params) as session:
        session.run(pipeline_names=["admire_step"])  # type: ignore[call-arg]


def observed(params: Params) -> list[Trial]:
    """The campaign's finished trials."""
    with KedroSession.create(PROJECT, env="gpu", runtime_params=params) as session:
        trials: list[Trial] = session.load_context().catalog.load("trials")  # type: ignore[attr-defined]
    return [trial for trial in trials if trial.status is TrialStatus.OBSERVED]


if __name__ == "__main__":
    main()
