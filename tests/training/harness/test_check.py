from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.check import check_tasks
from admire_pipeline.training.settings import EvaluationSettings
from tests.training.harness.test_questions import choice, write


def check(task: dict[str, Any], chat: bool = False, tokenizer: str = "byt5") -> None:
    settings = {"batch_size": 1, "max_bytes": 1, "curve_bytes": 1, "chat": chat}
    check_tasks(EvaluationSettings.model_validate({**settings, "tasks": {"t": task}}), tokenizer)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"task": "arc_esy", "metric": "acc"},
            r"\.task: unknown 'arc_esy'; did you mean 'arc",
        ),
        ({"task": "arc_easy", "metric": "f1"}, r"\.metric: 'f1' is not allowed; .*acc, acc_norm"),
        ({"task": "gsm8k", "metric": "exact_match"}, r"\.filter: 'none' .*strict-match, flexible"),
        ({"task": "ai2_arc", "metric": "acc"}, r"\.task: 'ai2_arc' is a name of several tasks"),
        ({"task": "AraDiCE", "metric": "acc"}, r"\.task: 'AraDiCE' is a group without a mean"),
        ({"task": "humaneval", "metric": "acc"}, r"\.task: 'humaneval' runs code"),
        ({"task": "mmlu", "metric": "acc_norm"}, r"\.metric: 'acc_norm' is not allowed; .*acc$"),
        (
            {"task": "truthfulqa_mc1", "metric": "acc", "few_shot": 1},
            r"\.few_shot: 1 examples for 'truthfulqa_mc1', which takes none",
        ),
    ],
)
def test_a_task_that_cannot_be_asked(task: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"^evaluation\.tasks\.t" + message):
        check(task)


@pytest.mark.parametrize(
    "task",
    [
        {"task": "arc_easy", "metric": "acc_norm", "few_shot": 25},
        {"task": "gsm8k", "metric": "exact_match", "filter": "strict-match", "few_shot": 5},
        {"task": "mmlu", "metric": "acc", "few_shot": 5},
        {"task": "wikitext", "metric": "bits_per_byte"},
        {"task": "lambada_openai", "metric": "perplexity"},
    ],
)
def test_a_task_that_can(task: dict[str, Any]) -> None:
    check(task)


def test_metrics_of_a_file(tmp_path: Path) -> None:
    own = {"path": str(write(tmp_path / "x.jsonl", [choice("?")])), "kind": "multiple_choice"}
    check(own | {"metric": "acc_norm"})
    with pytest.raises(UserError, match=r"t\.metric: 'exact_match' .*allowed: acc, acc_norm"):
        check(own | {"metric": "exact_match"})
    with pytest.raises(UserError, match=r"t\.filter: 'strict' is not allowed"):
        check(own | {"metric": "acc", "filter": "strict"})
    with pytest.raises(UserError, match=r"t\.path: .*cannot be read"):
        check(own | {"metric": "acc", "path": str(tmp_path / "none.jsonl")})


def test_chat_needs_a_template(tmp_path: Path, word_tokenizer: Path) -> None:
    own = {"path": str(write(tmp_path / "x.jsonl", [choice("?")])), "kind": "multiple_choice"}
    check(own | {"metric": "acc"}, chat=True, tokenizer=str(word_tokenizer))
    with pytest.raises(UserError, match=r"evaluation\.chat: corpus\.tokenizer='byt5' has no chat"):
        check(own | {"metric": "acc"}, chat=True)
