"""Questions of a task of the user's own, from a JSONL file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, model_validator

from admire_pipeline.errors import UserError
from admire_pipeline.training.settings import EvaluationSettings, TaskSettings
from admire_pipeline.validation import validate_settings


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError(f"{text!r} is not allowed; allowed: some text")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]


class _Question(BaseModel):
    """A row; further keys of it are left alone."""

    model_config = ConfigDict(frozen=True)

    question: Text


class MultipleChoice(_Question):
    """A question whose right answer is one of several."""

    choices: list[Text] = Field(min_length=2)
    answer: StrictInt = Field(ge=0)
    """The right choice's number, from 0."""

    @model_validator(mode="after")
    def _consistent(self) -> MultipleChoice:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices {self.choices} are not all different; allowed: once each")
        if self.answer >= len(self.choices):
            raise ValueError(
                f"answer {self.answer} is none of {len(self.choices)} choices, counted from 0; "
                f"allowed: 0 to {len(self.choices) - 1}"
            )
        return self


class Generation(_Question):
    """A question whose answer the model writes."""

    answer: Text


KINDS: dict[str, type[_Question]] = {"multiple_choice": MultipleChoice, "generation": Generation}


def read_questions(task: TaskSettings, key: str) -> list[dict[str, Any]]:
    """All questions of a file, each with the keys of its kind and no others.

    Args:
        task: `path` and `kind` are set.
        key: Where the task stands in the config, for the message.

    Raises:
        UserError: Naming the file, and the line and what is wrong with it; or if the questions are
            too few for `few_shot`.
    """
    path = Path(str(task.path)).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{key}.path: {task.path!r} cannot be read ({error}); allowed: a JSONL file"
        ) from error
    questions = [
        _parse(line, str(task.kind), f"{key}.path ({task.path}, line {number})")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not questions:
        raise UserError(f"{key}.path: {task.path!r} is empty; allowed: one question in each line")
    # An example is never the question itself, nor another copy of it.
    (_, copies) = Counter(map(_canonical, questions)).most_common(1)[0]
    if (others := len(questions) - copies) < task.few_shot:
        raise UserError(
            f"{key}.few_shot: {task.few_shot} examples before a question, of {others} other ones "
            f"in {task.path!r}; allowed: 0 to {others}"
        )
    return questions


def questions_hash(evaluation: EvaluationSettings) -> str:
    """Hash of all questions of the user's own files; empty where there are none.

    Raises:
        UserError: If one cannot be used.
    """
    own = {
        name: read_questions(task, f"evaluation.tasks.{name}")
        for name, task in evaluation.tasks.items()
        if task.path is not None
    }
    return hashlib.sha256(_canonical(own).encode()).hexdigest() if own else ""


def _parse(line: str, kind: str, key: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{key}: no JSON ({error}); allowed: one object in each line") from error
    if not isinstance(row, dict):
        raise UserError(f"{key}: {row!r} is not allowed; allowed: an object")
    return validate_settings(KINDS[kind], row, key).model_dump()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
