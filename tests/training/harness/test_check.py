from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.check import check_names, check_questions
from admire_pipeline.training.settings import EvaluationSettings
from tests.training.harness.test_questions import choice, write


def settings(tasks: dict[str, Any], chat: bool = False) -> EvaluationSettings:
    sizes = {"batch_size": 1, "max_bytes": 1, "curve_bytes": 1}
    return EvaluationSettings.model_validate({**sizes, "chat": chat, "tasks": tasks})


def check(task: dict[str, Any], chat: bool = False, tokenizer: str = "byt5") -> None:
    asked = settings({"t": task}, chat)
    check_names(asked)
    check_questions(asked, tokenizer)


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
        ({"task": "polemo2_in", "metric": "f1"}, r"\.task: 'polemo2_in' measures by code"),
        ({"task": "mmlu", "metric": "acc_norm"}, r"\.metric: 'acc_norm' is not allowed; .*acc$"),
        (
            {"task": "truthfulqa_mc1", "metric": "acc", "few_shot": 1},
            r"\.few_shot: 1 examples for 'truthfulqa_mc1', which takes none",
        ),
        (
            {"task": "mmlu_cot_llama", "metric": "exact_match", "few_shot": 5},
            r"\.few_shot: 5 examples for 'mmlu_cot_llama_\w+', which takes none",
        ),
        (
            {"task": "wikitext", "metric": "bits_per_byte", "few_shot": 2},
            r"\.few_shot: 2 examples for 'wikitext', which takes none",
        ),
        # Metrics that the task's code computes are declared too.
        (
            {"task": "ifeval", "metric": "prompt_level_strict_accc"},
            r"\.metric: 'prompt_level_strict_accc' .*did you mean 'prompt_level_strict_acc'",
        ),
        ({"task": "drop", "metric": "exact_match"}, r"\.metric: 'exact_match' .*allowed: em, f1$"),
        ({"task": "drop", "metric": "f1", "filter": "foo"}, r"\.filter: 'foo' .*allowed: none$"),
        ({"task": "truthfulqa_mc2", "metric": "acc_norm"}, r"\.metric: 'acc_norm' .*: acc$"),
        ({"task": "minerva_math500", "metric": "acc"}, r"\.metric: 'acc' .*exact_match, math_ve"),
        # Of a group: the filters of its mean, else those of its tasks.
        (
            {"task": "bbh_cot_fewshot", "metric": "exact_match", "filter": "strict-match"},
            r"\.filter: 'strict-match' is not allowed; .*allowed: get-answer$",
        ),
        ({"task": "bbh_cot_fewshot", "metric": "exact_match"}, r"\.filter: 'none' .*get-answer$"),
        ({"task": "mmlu", "metric": "acc", "filter": "get"}, r"\.filter: 'get' .*allowed: none$"),
        (
            {"task": "arc_easy", "metric": "acc", "max_tokens": 9},
            r"\.max_tokens: 9 for a task whose answers are not written",
        ),
        ({"task": "squadv2", "metric": "f1", "max_tokens": 9}, r"\.max_tokens: 9 for a task"),
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
        {"task": "gsm8k_cot", "metric": "exact_match", "filter": "strict-match", "max_tokens": 9},
        {"task": "bbh", "metric": "exact_match", "filter": "get-answer", "max_tokens": 9},
        {"task": "squadv2", "metric": "what_its_code_says"},
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
    with pytest.raises(UserError, match=r"t\.max_tokens: 9 for a task whose answers are not wr"):
        check(own | {"metric": "acc", "max_tokens": 9})
    with pytest.raises(UserError, match=r"t\.path: .*cannot be read"):
        check(own | {"metric": "acc", "path": str(tmp_path / "none.jsonl")})


def test_chat_needs_a_template(tmp_path: Path, word_tokenizer: Path) -> None:
    own = {"path": str(write(tmp_path / "x.jsonl", [choice("?")])), "kind": "multiple_choice"}
    check(own | {"metric": "acc"}, chat=True, tokenizer=str(word_tokenizer))
    with pytest.raises(UserError, match=r"evaluation\.chat: corpus\.tokenizer='byt5' has no chat"):
        check(own | {"metric": "acc"}, chat=True)
