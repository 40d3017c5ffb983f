"""What `--env tulu` runs, small and on two processes: packed chats, adapters, a spread model."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from admire_pipeline.training import launch, worker
from admire_pipeline.training.corpus import Corpus, CorpusSettings, prepare_corpus
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings
from tests.chats import write_chats, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, LENGTH = 48, 256


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def corpus(tmp_path: Path, checkpoint: Path) -> Corpus:
    settings = CorpusSettings.model_validate(
        {"domains": write_chats(tmp_path), "tokenizer": str(checkpoint), "workers": 1}
    )
    return prepare_corpus(settings, tmp_path / "shards")


def train(
    processes: int, checkpoint: Path, corpus: Corpus, folder: Path, how: Mapping[str, Any]
) -> list[float]:
    """The training loss of each step that is logged; the model is in `folder`."""
    recipe = {
        "examples": EXAMPLES,
        "sequence_length": LENGTH,
        "batch_size": 2,
        "gradient_accumulation": 2,
        "learning_rate": 1e-3,
        "evaluations": 2,
        "gradient_checkpointing": how["checkpointing"],
    }
    model = {"checkpoint": str(checkpoint), "lora": how["lora"]}
    launched = {"processes": processes, "config": how["config"] if processes > 1 else None}
    mixture = {"sums": 0.7, "spelling": 0.3}
    plan = plan_mixture(mixture, EXAMPLES, LENGTH, corpus, seed=5, unit="examples").to_dict()
    folder.mkdir()
    job = worker.Job(
        call="train",
        fidelity=FidelitySettings.model_validate(
            {"cost": 1, "model": model, "training": recipe, "launch": launched}
        ),
        corpus=corpus,
        folder=folder,
        evaluation=EvaluationSettings(batch_size=4, max_bytes=2048, curve_bytes=512),
        arguments={"mixing_plan": json.loads(json.dumps(plan)), "seed": 5},
    )
    losses: list[float] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        losses.extend(value for name, value in metrics.items() if name == "train.loss")

    if processes == 1:
        worker._train(job, log)
    else:
        launch.run_job(job, ROOT, log)
    return losses


ADAPTERS = {"rank": 4, "alpha": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"lora": None, "config": None, "checkpointing": False}, ""),
        ({"lora": ADAPTERS, "config": None, "checkpointing": False}, ""),
        (
            {"lora": None, "config": "conf/accelerate/fsdp.yaml", "checkpointing": True},
            "2 processes spread a FSDPQwen2ForCausalLM",
        ),
    ],
    ids=["whole", "adapters", "spread"],
)
def test_two_processes_learn_chats_as_one(
    how: Mapping[str, Any],
    words: str,
    checkpoint: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "admire_pipeline")
    monkeypatch.chdir(ROOT)
    if how["config"]:
        monkeypatch.setattr(launch, "WORKER", "tests.training.spread_workers")
    alone = train(1, checkpoint, corpus, tmp_path / "one", how)
    together = train(2, checkpoint, corpus, tmp_path / "two", how)

    assert len(alone) >= 3 and alone[-1] < alone[0]
    # The same sums in another order.
    assert together == pytest.approx(alone, abs=1e-3)
    assert not words or words in caplog.messages
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("one", "two"))
    start = load_file(checkpoint / "model.safetensors")
    torch.testing.assert_close(two, one, atol=1e-3, rtol=0)
    assert any(not torch.equal(one[name], start[name]) for name in start)
