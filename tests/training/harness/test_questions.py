from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.questions import questions_hash, read_questions
from admire_pipeline.training.settings import EvaluationSettings, TaskSettings

METRICS = {"multiple_choice": "acc", "generation": "exact_match"}


def own_task(path: Path, kind: str = "multiple_choice", **settings: Any) -> TaskSettings:
    return TaskSettings.model_validate(
        {"path": str(path), "kind": kind, "metric": METRICS[kind], **settings}
    )


def evaluation(tasks: dict[str, TaskSettings]) -> EvaluationSettings:
    return EvaluationSettings(batch_size=1, max_bytes=1, curve_bytes=1, tasks=tasks)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def choice(question: str, answer: int = 0) -> dict[str, Any]:
    return {"question": question, "choices": ["a", "b"], "answer": answer}


def test_rows_are_read_with_their_own_keys_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [choice("1?") | {"id": 7}, choice("2?", 1)])
    path.write_text(path.read_text() + "\n")
    assert read_questions(own_task(path), "t") == [choice("1?"), choice("2?", 1)]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("multiple_choice", "no JSON", r"line 2\): no JSON \(.*\); allowed: one object"),
        ("multiple_choice", "[1]", r"line 2\): \[1\] is not allowed; allowed: an object"),
        ("multiple_choice", {"choices": ["a", "b"], "answer": 0}, r"2\)\.question: missing"),
        ("multiple_choice", {"question": "?", "choices": ["a", "b"]}, r"2\)\.answer: missing"),
        ("multiple_choice", choice(" "), r"2\)\.question: ' ' is not allowed; allowed: some text"),
        ("multiple_choice", choice("?") | {"choices": ["a"]}, r"2\)\.choices: .*at least 2"),
        ("multiple_choice", choice("?") | {"choices": ["a", "a"]}, r"not all different"),
        ("multiple_choice", choice("?") | {"choices": ["a", ""]}, r"2\)\.choices\.1: '' is not"),
        ("multiple_choice", choice("?", 2), r"answer 2 is none of 2 choices.*allowed: 0 to 1"),
        ("multiple_choice", choice("?", -1), r"2\)\.answer: -1 is not allowed"),
        ("multiple_choice", choice("?") | {"answer": "a"}, r"2\)\.answer: 'a' is not allowed"),
        ("multiple_choice", choice("?") | {"answer": True}, r"2\)\.answer: True is not allowed"),
        ("generation", {"question": "?", "answer": 4}, r"2\)\.answer: 4 is not allowed"),
        ("generation", {"question": "?"}, r"2\)\.answer: missing"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, kind: str, row: Any, message: str) -> None:
    good = choice("?") if kind == "multiple_choice" else {"question": "?", "answer": "4"}
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(good)}\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(UserError, match=message) as error:
        read_questions(own_task(path, kind), "evaluation.tasks.t")
    assert str(error.value).startswith(f"evaluation.tasks.t.path ({path}, line 2)")
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.path: .*none\.jsonl.* cannot be read"):
        read_questions(own_task(tmp_path / "none.jsonl"), "t")
    with pytest.raises(UserError, match=r"t\.path: .* is empty"):
        read_questions(own_task(write(tmp_path / "x.jsonl", [])), "t")
    (tmp_path / "y.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"t\.path: .* cannot be read"):
        read_questions(own_task(tmp_path / "y.jsonl"), "t")


def test_examples_are_other_questions_than_the_one_asked(tmp_path: Path) -> None:
    """Copies of a question are no examples for it: of four rows, two are left."""
    path = write(tmp_path / "x.jsonl", [choice("1?"), choice("1?"), choice("2?"), choice("3?")])
    assert len(read_questions(own_task(path, few_shot=2), "t")) == 4
    with pytest.raises(UserError, match=r"t\.few_shot: 3 examples .* allowed: 0 to 2"):
        read_questions(own_task(path, few_shot=3), "t")


def test_the_hash_is_of_the_questions(tmp_path: Path) -> None:
    def hash_of(path: Path) -> str:
        return questions_hash(
            EvaluationSettings(
                batch_size=1, max_bytes=1, curve_bytes=1, tasks={"t": own_task(path)}
            )
        )

    first = hash_of(write(tmp_path / "x.jsonl", [choice("1?")]))
    assert hash_of(write(tmp_path / "moved.jsonl", [choice("1?") | {"id": 3}])) == first
    assert hash_of(write(tmp_path / "x.jsonl", [choice("1?", 1)])) != first
    assert questions_hash(evaluation({})) == ""
