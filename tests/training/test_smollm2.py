"""A real chat model, fine-tuned for a few steps on a mixture of chats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from admire_pipeline.training.corpus import CorpusSettings, prepare_corpus
from admire_pipeline.training.evaluation import evaluate_domains
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.run import load_model, train_trial
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings
from tests.chats import write_chats

EVALUATION = EvaluationSettings(batch_size=8, max_bytes=400, curve_bytes=200)


@pytest.mark.slow
def test_the_up_weighted_domain_is_learned(smollm2: Path, tmp_path: Path) -> None:
    settings = CorpusSettings.model_validate(
        {"domains": write_chats(tmp_path), "tokenizer": str(smollm2), "workers": 1}
    )
    corpus = prepare_corpus(settings, tmp_path / "shards")
    fidelity = FidelitySettings.model_validate(
        {
            "cost": 1,
            "model": {"checkpoint": str(smollm2)},
            "training": {
                "examples": 24,
                "sequence_length": 192,
                "batch_size": 2,
                "learning_rate": 3e-4,
                "evaluations": 0,
            },
        }
    )
    plan = plan_mixture({"sums": 0.9, "spelling": 0.1}, 24, 192, corpus, seed=0, unit="examples")
    before = losses(smollm2, corpus)
    folder = tmp_path / "trial"
    train_trial(fidelity, plan.to_dict(), corpus, folder, 0, EVALUATION, lambda *_: None)
    after = losses(folder / "model", corpus)
    # Measured: sums 0.97 to 0.30, spelling 1.9 to 1.4.
    assert after["bits_per_byte.sums"] < 0.7 * before["bits_per_byte.sums"]
    assert np.isfinite(list(after.values())).all()


def losses(folder: Path, corpus) -> dict[str, float]:
    metrics = evaluate_domains(load_model(folder), corpus, 192, 8, EVALUATION.max_bytes)
    return {metric.name: metric.value for metric in metrics}
