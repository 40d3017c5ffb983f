"""A trial's whole evaluation: validation losses and tasks, each kept as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admire_pipeline.integrity import DamagedError, read_sealed, write_sealed
from admire_pipeline.training.evaluation import evaluate_domains
from admire_pipeline.training.harness.questions import read_questions
from admire_pipeline.training.objective import Metric
from admire_pipeline.training.processes import agree, is_main, spread, this_process
from admire_pipeline.training.run import load_model
from admire_pipeline.training.settings import EvaluationSettings, TaskSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from admire_pipeline.training.corpus import Corpus

logger = logging.getLogger(__name__)

VERSION = 2
"""Raised whenever the same model and settings give other results than before."""

Measure = Callable[["PreTrainedModel"], tuple[list[Metric], Any]]
"""Gives metrics, and of a task the harness' whole results."""


@dataclass(frozen=True)
class _Unit:
    """What is measured, kept and found again as a whole.

    Attributes:
        name: `validation`, or `task-<name>`.
        version: Hash of all that the result depends on besides the model.
        measure: Measures it.
    """

    name: str
    version: str
    measure: Measure

    def path(self, folder: Path) -> Path:
        return folder / f"{self.name}-{self.version[:16]}.json"


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a model.

    Attributes:
        metrics: Bits per byte on every validation domain, then each task's metric.
        harness: The harness' whole results for each task.
        seconds: That measuring took, whenever it was done; loading the model is left out.
    """

    metrics: list[Metric]
    harness: dict[str, Any]
    seconds: float


def evaluate_trial(
    model_folder: Path,
    corpus: Corpus,
    sequence_length: int,
    evaluation: EvaluationSettings,
    results: Path,
) -> Evaluation:
    """Measure what was not measured before on the same model.

    Every process of a launch calls it alike and gets the same.

    Args:
        model_folder: Config and weights, in safetensors format.
        corpus: Its validation domains and tokenizer.
        sequence_length: Tokens in a window of validation text.
        evaluation: What is measured; paths as seen from here (`EvaluationSettings.located`).
        results: Folder of what was measured of this model.

    Raises:
        UserError: If a task cannot be run, or the text has changed meanwhile; what is measured by
            then is kept.
    """
    this_process()  # meets the others, where some were launched
    units = _units(corpus, sequence_length, evaluation)
    found = list(_evaluate(model_folder, results, units, corpus))
    return Evaluation(
        [Metric(**row) for result in found for row in result["metrics"]],
        {name: r["harness"] for name, r in zip(evaluation.tasks, found[1:], strict=True)},
        sum(result["seconds"] for result in found),
    )


def is_evaluated(
    corpus: Corpus, sequence_length: int, evaluation: EvaluationSettings, results: Path
) -> bool:
    """Whether `evaluate_trial` would find everything measured."""
    units = _units(corpus, sequence_length, evaluation)
    return all(_read(unit.path(results)) is not None for unit in units)


def _evaluate(
    model_folder: Path, folder: Path, units: Sequence[_Unit], corpus: Corpus
) -> Iterator[dict[str, Any]]:
    # What the first process finds on its disk counts: it alone writes.
    known: list[dict[str, Any] | None] = agree([_read(unit.path(folder)) for unit in units])
    model = None
    for unit, kept in zip(units, known, strict=True):
        if kept is not None:
            if is_main():
                logger.info("%s: this model was evaluated before", unit.name)
            yield kept
            continue
        model = load_model(model_folder) if model is None else model
        began = time.monotonic()
        metrics, harness = unit.measure(model)
        result = {
            "metrics": [asdict(metric) for metric in metrics],
            "harness": harness,
            "seconds": time.monotonic() - began,
        }
        if is_main():
            corpus.check()  # what was measured on other text is of no use
            write_sealed(unit.path(folder), result)
        yield result


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return read_sealed(path)
    except DamagedError as damage:
        logger.warning("%s; it is measured again", damage)
        return None


def _units(corpus: Corpus, sequence_length: int, evaluation: EvaluationSettings) -> list[_Unit]:
    """The validation losses, then the tasks."""

    def losses(model: PreTrainedModel) -> tuple[list[Metric], None]:
        size, most = evaluation.batch_size, evaluation.max_bytes
        return spread(
            lambda domains: evaluate_domains(model, corpus, sequence_length, size, most, domains),
            corpus.validation_domains,
        ), None

    text = corpus.manifest["hash"]
    units = [_Unit("validation", _hash([text, sequence_length, evaluation.max_bytes]), losses)]
    template = _chat_template(corpus) if evaluation.tasks and evaluation.chat else None
    for name, task in evaluation.tasks.items():
        identity = [text, template, version("lm_eval"), name, *_identity(name, task)]
        measure = _measure_task(name, task, corpus, evaluation)
        units.append(_Unit(f"task-{name}", _hash(identity), measure))
    return units


def _measure_task(
    name: str, task: TaskSettings, corpus: Corpus, evaluation: EvaluationSettings
) -> Measure:
    def measure(model: PreTrainedModel) -> tuple[list[Metric], Any]:
        from admire_pipeline.training.harness.model import wrap_model  # lm_eval takes seconds
        from admire_pipeline.training.harness.run import run_task

        size = evaluation.task_batch_size or evaluation.batch_size
        lm = wrap_model(model, corpus.settings.tokenizer, size, evaluation.chat)
        metric, results = run_task(name, task, lm, evaluation.chat)
        return [metric], results

    return measure


def _identity(name: str, task: TaskSettings) -> tuple[Any, ...]:
    """What a task's result depends on: its settings, and of a file the questions, not the place."""
    questions = read_questions(task, f"evaluation.tasks.{name}") if task.path is not None else None
    return task.model_dump(exclude={"path"}), questions


def _chat_template(corpus: Corpus) -> Any:
    from admire_pipeline.training.harness.model import load_tokenizer

    return load_tokenizer(corpus.settings.tokenizer).chat_template


def _hash(value: Any) -> str:
    text = json.dumps([VERSION, value], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
