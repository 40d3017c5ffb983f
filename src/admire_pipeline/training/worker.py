"""A process that accelerate launched: does its share of a job that stands in a file.

The job's folder is all it shares with the process that started it (`launch.py`): points of the
curves, the result, and what went wrong are files there. No tracking server is reached from here.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

from pydantic import BaseModel, Field

from admire_pipeline.credentials import masked
from admire_pipeline.disk import write_atomically
from admire_pipeline.errors import TrialError, UserError
from admire_pipeline.process import is_gone, name_process
from admire_pipeline.training import processes
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings

JOB, CURVES, RESULT, ERRORS = "job.json", "curves.jsonl", "result.json", "error-*.json"
"""Files of a job, in its folder."""

KINDS: dict[str, type[Exception]] = {
    "TrialError": TrialError,
    "UserError": UserError,
    "OSError": OSError,
}
"""Errors that are told apart across processes, the narrowest first."""

WATCH_SECONDS = 1.0
"""Between two looks whether the process that waits for the job still lives."""

logger = logging.getLogger("admire_pipeline.training.worker")  # run as __main__

Log = Callable[[Mapping[str, float], int], None]


class Job(BaseModel):
    """What is to be done: a function of `CALLS`, and what it is called with.

    Attributes:
        call: Name in `CALLS`.
        fidelity: Model, recipe and launch.
        corpus: The prepared text; it is opened, not built.
        folder: The trial's own.
        evaluation: How it is evaluated.
        arguments: What else the function needs, JSON-able.
        starter: Name of the process that waits for it (`name_process`).
    """

    call: str
    fidelity: FidelitySettings
    corpus: Corpus
    folder: Path
    evaluation: EvaluationSettings
    arguments: dict[str, Any]
    starter: str = Field(default_factory=name_process)


def _train(job: Job, log: Log) -> dict[str, Any]:
    from admire_pipeline.training.run import train_trial

    return train_trial(
        job.fidelity,
        job.arguments["mixing_plan"],
        job.corpus,
        job.folder,
        job.arguments["seed"],
        job.evaluation,
        log,
    )


def _evaluate(job: Job, _log: Log) -> None:
    from admire_pipeline.training.evaluate import evaluate_trial

    # What it finds is kept in the cache.
    evaluate_trial(
        Path(job.arguments["model"]),
        job.corpus,
        job.fidelity.training.sequence_length,
        job.evaluation,
        Path(job.arguments["results"]),
    )


CALLS: dict[str, Callable[[Job, Log], Any]] = {"train": _train, "evaluate": _evaluate}
"""What a job can be: takes part on every process, and returns on each what is JSON-able."""


def main(folder: Path) -> None:
    """Do the job in `folder`, as one of its processes."""
    try:
        job = Job.model_validate_json((folder / JOB).read_text(encoding="utf-8"))
        Thread(target=_end_with, args=(job.starter, os.getppid()), daemon=True).start()
        _join(job)
        result = CALLS[job.call](job, _Curves(folder / CURVES))
        if processes.is_main():
            write_atomically(folder / RESULT, json.dumps(result))
        processes.leave()
    except Exception as error:
        _fail(error, folder)


def _join(job: Job) -> None:
    """Meet the other processes."""
    from admire_pipeline.training.device import has_bf16

    processes.this_process()  # gives each its GPU: the first to touch one
    # The precision follows from the GPU, as in process, not from accelerate's config file.
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if has_bf16() else "no"
    asked = job.fidelity.launch.processes
    if processes.count() != asked:
        raise UserError(
            f"launch.config: {job.fidelity.launch.config} started {processes.count()} processes; "
            f"allowed: launch.processes, {asked}"
        )
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("admire_pipeline").setLevel("INFO" if processes.is_main() else "WARNING")


class _Curves:
    """Writes points of the curves, for the process that waits to log; the main process alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        if processes.is_main():
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([dict(metrics), step]) + "\n")
            if "train.loss" in metrics:  # in place of the progress bar, which needs a terminal
                logger.info("step %d: loss %.4f", step, metrics["train.loss"])


def _end_with(starter: str, launcher: int) -> None:
    """End this process once the one that waits for it, or accelerate's, has ended.

    Nobody would take the result, and who resumes the trial writes in the same folder.
    """
    while os.getppid() == launcher and not is_gone(starter):
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _fail(error: Exception, folder: Path) -> NoReturn:
    """Leave word of what went wrong, and end without waiting for processes that hang in it."""
    kind = next((k for k, known in KINDS.items() if isinstance(error, known)), "")
    word = {
        "time": time.time(),
        "kind": kind,
        "message": masked(str(error)),
        "traceback": masked("".join(traceback.format_exception(error))),
    }
    write_atomically(folder / ERRORS.replace("*", os.environ.get("RANK", "0")), json.dumps(word))
    sys.stdout.flush()
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
