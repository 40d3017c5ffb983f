"""A real chat model, fine-tuned for a few steps on a mixture of chats and asked questions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from admire_pipeline.training.corpus import CorpusSettings, prepare_corpus
from admire_pipeline.training.evaluate import evaluate_trial
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.run import train_trial
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings
from admire_pipeline.training.weights import model_hash
from tests.chats import write_chats

EXAMPLES, LENGTH = 24, 192


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
                "examples": EXAMPLES,
                "sequence_length": LENGTH,
                "batch_size": 2,
                "learning_rate": 3e-4,
                "evaluations": 0,
            },
        }
    )
    mixture = {"sums": 0.9, "spelling": 0.1}
    plan = plan_mixture(mixture, EXAMPLES, LENGTH, corpus, seed=0, unit="examples")
    evaluation = evaluate_settings(tmp_path)

    def measure(model: Path) -> dict[str, float]:
        metrics = evaluate_trial(
            model, corpus, LENGTH, evaluation, tmp_path / model_hash(model)
        ).metrics
        assert all(math.isfinite(m.value) and math.isfinite(m.standard_error) for m in metrics)
        return {metric.name: metric.value for metric in metrics}

    before = measure(smollm2)
    folder = tmp_path / "trial"
    train_trial(fidelity, plan.to_dict(), corpus, folder, 0, evaluation, lambda *_: None)
    after = measure(folder / "model")
    assert set(after) == {"bits_per_byte.sums", "bits_per_byte.spelling", "acc_norm.form"}
    assert after["bits_per_byte.sums"] < 0.7 * before["bits_per_byte.sums"]
    # A form of answers that it was taught, against one that it prefers as it comes.
    assert before["acc_norm.form"] < 0.5 and after["acc_norm.form"] > 0.9


def evaluate_settings(folder: Path) -> EvaluationSettings:
    """Both losses, and a task: is the form of the chats' answers the likelier one?"""
    sums = [(a, b) for a in (13, 27, 46, 58) for b in (31, 64)]
    rows = [
        {
            "question": f"How much is {a} and {b}?",
            "choices": [f"The answer is {a + b}.", f"{a} + {b} = {a + b}"],
            "answer": 1,
        }
        for a, b in sums
    ]
    path = folder / "form.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = {"path": str(path), "kind": "multiple_choice", "metric": "acc_norm"}
    return EvaluationSettings.model_validate(
        {
            "batch_size": 8,
            "max_bytes": 400,
            "curve_bytes": 200,
            "tasks": {"form": task},
            "chat": True,
        }
    )
