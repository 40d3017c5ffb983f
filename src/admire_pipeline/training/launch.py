"""A trial's work in this process, or in several that accelerate launches and this one tends."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Any, NoReturn

import psutil

from admire_pipeline.disk import write_atomically
from admire_pipeline.errors import LaunchError, UserError
from admire_pipeline.training import worker
from admire_pipeline.training.command import launch_command
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings
from admire_pipeline.training.weights import (
    CHECKPOINTS,
    COMPLETE,
    check_model,
    finished_run,
)

if TYPE_CHECKING:
    from admire_pipeline.training.evaluate import Evaluation

logger = logging.getLogger(__name__)

EVALUATIONS = Path("data/07_model_output/evaluations")
"""Within the project: results, in a folder for each model that is named by the model's hash."""

WORKER = worker.__name__
"""Module that accelerate runs in every process, with the job's folder as its argument."""

LAST_LINES = 30
"""Of the processes' output, reported with a failure."""

POLL_SECONDS = 0.5
"""Between two looks at the curves."""

GRACE_SECONDS = 10.0
"""Processes that are told to end have so long before they are killed."""

FROM_OUTSIDE = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL}
"""Signals that say nothing against the trial; a full memory is one SIGKILL."""


def train(  # noqa: PLR0913
    fidelity: FidelitySettings,
    mixing_plan: Mapping[str, Any],
    corpus: Corpus,
    folder: Path,
    seed: int,
    evaluation: EvaluationSettings,
    log: Callable[[Mapping[str, float], int], None],
    project: Path,
) -> dict[str, Any]:
    """`train_trial` on as many devices as the fidelity's `launch` says.

    Args:
        fidelity: Model, recipe and launch.
        mixing_plan: As of `MixingPlan.to_dict`.
        corpus: The text.
        folder: The trial's own.
        seed: The trial's own.
        evaluation: How much validation text the curves are measured on.
        log: Takes metrics of the curves and their optimizer step; called in this process alone.
        project: Where a relative path of accelerate's config file starts.

    Raises:
        UserError: If the processes cannot be started as configured, or were killed; or theirs.
        TrialError: Theirs.
        LaunchError: If they failed in another way.
    """
    # A training that is done is read by this process.
    if fidelity.launch.in_process or finished_run(folder) is not None:
        from admire_pipeline.training.run import train_trial

        with _forgiving(folder, corpus):
            return train_trial(fidelity, mixing_plan, corpus, folder, seed, evaluation, log)
    job = worker.Job(
        call="train",
        fidelity=fidelity,
        corpus=corpus,
        folder=folder,
        evaluation=evaluation,
        arguments={"mixing_plan": dict(mixing_plan), "seed": seed},
    )
    return dict(run_job(job, project, log))


def evaluate(  # noqa: PLR0913, PLR0917
    fidelity: FidelitySettings,
    training_run: Mapping[str, Any],
    corpus: Corpus,
    folder: Path,
    evaluation: EvaluationSettings,
    project: Path,
) -> Evaluation:
    """`evaluate_trial` on as many devices as the fidelity's `launch` says.

    The checkpoints of the training are removed after it: until then its model may prove damaged.

    Args:
        fidelity: Recipe and launch.
        training_run: As of `train`.
        corpus: The text.
        folder: The trial's own.
        evaluation: What is measured.
        project: Where relative paths start, and results are kept.

    Raises:
        UserError: If the model is damaged, a task cannot be run, or see `train`.
        LaunchError: See `train`.
    """
    from admire_pipeline.training.evaluate import (  # transformers takes seconds
        evaluate_trial,
        is_evaluated,
    )

    evaluation, model = evaluation.located(project), folder / training_run["model"]
    results = project / EVALUATIONS / training_run["hash"]
    what = (corpus, fidelity.training.sequence_length, evaluation, results)
    if not is_evaluated(*what):
        check_model(model, training_run["hash"])
        if not fidelity.launch.in_process:
            job = worker.Job(
                call="evaluate",
                fidelity=fidelity,
                corpus=corpus,
                folder=folder,
                evaluation=evaluation,
                arguments={"model": str(model), "results": str(results)},
            )
            run_job(job, project, lambda *_: None)
    # After a launch nothing is left to measure: it is read.
    with _forgiving(folder, corpus):
        measured = evaluate_trial(model, *what)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return measured


def run_job(job: worker.Job, project: Path, log: Callable[[Mapping[str, float], int], None]) -> Any:
    """Launch processes for a job, and wait for its result; see `train`."""
    import torch

    command = launch_command(job.fidelity.launch, project)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # what an evaluation in this process left is theirs now
    folder = job.folder / "launch"
    shutil.rmtree(folder, ignore_errors=True)
    write_atomically(folder / worker.JOB, job.model_dump_json())
    output = _Output()
    curves = _Curves(folder / worker.CURVES, log)
    with _forgiving(job.folder, job.corpus):
        with _launched([*command, "--module", WORKER, str(folder)], output) as process:
            while True:
                try:
                    code = process.wait(POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    curves.deliver()
        curves.deliver()
        if code:
            _raise_failure(folder, output.codes or [code], output.last)
    result = json.loads((folder / worker.RESULT).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return result


@contextmanager
def _forgiving(folder: Path, corpus: Corpus) -> Iterator[None]:
    """Hold a crash against a trial only if its text is intact, and no checkpoint is newer.

    Text that has changed may crash anything. A machine may fail a training that ran well for hours;
    one that comes back to the same place without getting on is to blame.
    """
    before = _complete_checkpoints(folder)
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        corpus.check()
        if _complete_checkpoints(folder) <= before:
            raise
        logger.exception("the training failed after a new checkpoint")
        raise UserError(
            f"training: it failed, but after a new checkpoint ({one_line(error)}); the same "
            "command goes on from there"
        ) from error


def _complete_checkpoints(folder: Path) -> set[tuple[Path, int]]:
    """Marks of a trial's complete checkpoints, and when they were written, by whatever clock."""
    marks = (folder / CHECKPOINTS).glob(f"checkpoint-*/{COMPLETE}")
    return {(mark, mark.stat().st_mtime_ns) for mark in marks}


class _Output:
    """Logs what the processes print.

    Attributes:
        last: Their last lines, before accelerate's account of a failure.
        codes: Exit codes in that account, that of the process that failed first at the front.
    """

    def __init__(self) -> None:
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self.codes: list[int] = []
        self.ending = Event()

    def stream(self, lines: IO[bytes]) -> None:
        for encoded in lines:
            if self.ending.is_set():
                continue  # how accelerate takes our signal is no news
            # Of a progress bar, which returns the carriage, the last state.
            line = encoded.decode(errors="replace").rstrip().rpartition("\r")[2]
            logger.info("%s", line)
            self.codes += [int(code) for code in re.findall(r"exitcode\s*: (-?\d+)", line)]
            if not self.codes:
                self.last.append(line)


@contextmanager
def _launched(command: list[str], output: _Output) -> Iterator[subprocess.Popen[bytes]]:
    """The command's process, its output logged; it ends with the block, however that is left."""
    process = subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C reaches this process, which passes it on
    )
    reader = Thread(target=output.stream, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield process
    finally:
        if process.poll() is None:
            output.ending.set()
            _end(process)
        reader.join(timeout=GRACE_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started, by SIGTERM first."""
    try:
        launcher = psutil.Process(process.pid)
        family = [launcher, *launcher.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    try:
        for member in family:
            _signal(member, signal.SIGTERM)
        psutil.wait_procs(family, timeout=GRACE_SECONDS)
    finally:
        for member in family:
            _signal(member, signal.SIGKILL)
        process.wait()


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


class _Curves:
    """Hands on the points of the curves that the main process writes, whole lines only."""

    def __init__(self, path: Path, log: Callable[[Mapping[str, float], int], None]) -> None:
        self._path = path
        self._log = log
        self._read = 0

    def deliver(self) -> None:
        """Hand on those that came since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        for line in whole.splitlines():
            self._log(*json.loads(line))
        self._read += len(whole + end)


def _raise_failure(folder: Path, codes: list[int], last: Iterable[str]) -> NoReturn:
    """Raise what a process left word of; else tell from the exit codes and the last lines."""
    words = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(worker.ERRORS)]
    # The first is the cause: processes that wait for one that failed then fail too.
    word = min(words, key=lambda word: word["time"], default={"kind": ""})
    kind = worker.KINDS.get(word["kind"])
    if kind is not None and issubclass(kind, UserError):
        raise kind(word["message"])
    # So do they for one that died; accelerate ends the others by SIGTERM.
    code = next((code for code in codes if code < 0 and code != -signal.SIGTERM), codes[0])
    if -code in FROM_OUTSIDE:
        name = signal.Signals(-code).name
        raise UserError(
            f"launch: a process was killed by {name}"
            + (" (out of memory?)" if name == "SIGKILL" else "")
            + "; once that is mended, the same command goes on from the last checkpoint"
        )
    what, rest = f"exit code {code}", "last lines:\n" + "\n".join(last)
    if code > 0 and words:
        what, rest = word["message"], word["traceback"]
    raise (kind or LaunchError)(f"launch: {what}\n{rest}")
