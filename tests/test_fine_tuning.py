"""Fine-tuning on chats through `kedro run`: mixtures of examples, Qwen2.5's architecture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.chats import write_chats, write_checkpoint
from tests.conftest import Project

DOMAINS = ("sums", "spelling")


@pytest.fixture
def chat_project(project: Project) -> Project:
    """Two little checkpoints, to be fine-tuned on two domains of chats."""
    folder = project.folder
    for file, key, value in (
        ("catalog.yml", "corpus.domains", write_chats(folder / "data" / "01_raw")),
        ("catalog.yml", "corpus.tokenizer", "data/06_models/one"),
        ("parameters.yml", "mixing", {"unit": "examples", "samples": 1, "sample_characters": 200}),
    ):
        project.set(file, key, value)
    for layers, fidelity, name in ((1, "nano", "one"), (2, "small", "two")):
        checkpoint = write_checkpoint(folder / "data" / "06_models" / name, layers)
        project.set(
            "parameters.yml",
            f"fidelities.{fidelity}.model",
            {"checkpoint": checkpoint.relative_to(folder).as_posix()},
        )
        project.set(
            "parameters.yml",
            f"fidelities.{fidelity}.training",
            {
                "examples": 100,
                "sequence_length": 128,
                "batch_size": 4,
                "learning_rate": 0.01,
                "evaluations": 2,
            },
        )
    return project


def test_a_campaign_of_three_trials(
    chat_project: Project, steps: Callable[[Project, int], None]
) -> None:
    steps(chat_project, 3)
    runs = chat_project.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    client = mlflow.MlflowClient(f"sqlite:///{chat_project.folder}/data/mlflow/mlflow.db")
    for run in runs:
        folder = Path(client.download_artifacts(run.info.run_id, ""))
        plan = json.loads((folder / "mixing_plan.json").read_text())
        assert plan["unit"] == "examples"
        drawn = {entry["domain"]: entry["draws"] for entry in plan["domains"]}
        assert sum(drawn.values()) == 100
        for domain in DOMAINS:
            weight = float(run.data.params[f"mixture.{domain}"])
            assert abs(drawn[domain] - 100 * weight) < 1
        assert int(run.data.params["tokens"]) == plan["tokens"] < 100 * 128
        # It has learned: a random model of 259 tokens needs 8 bits for a byte.
        losses = [run.data.metrics[f"eval.bits_per_byte.{domain}"] for domain in DOMAINS]
        assert min(losses) < 6
        assert run.data.metrics["score"] == pytest.approx(-sum(losses) / 2)
        assert "<|im_start|>assistant" in (folder / "text_samples.txt").read_text()
        # The node saves its second dataset in no time: both count together.
        seconds = run.data.metrics
        assert seconds["seconds.evaluate_model"] > 0.9 * seconds["evaluation_seconds"]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("mixing.unit", "tokens", "fidelities.nano.training.examples: mixing.unit is 'tokens'"),
        ("mixing.unit", "chats", "mixing.unit: "),
        ("fidelities.small.training.tokens", 1000, "exactly one of `tokens` and `examples`"),
        ("fidelities.small.training.sequence_length", 8, "something is learned within 8 tokens"),
    ],
)
def test_what_does_not_fit_is_one_line(
    chat_project: Project, key: str, value: object, line: str
) -> None:
    chat_project.set("parameters.yml", key, value)
    result = chat_project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    assert line in " ".join(result.output.split())
    assert not chat_project.runs()
