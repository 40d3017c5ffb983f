"""Runs a benchmark's jobs on several processes; a killed benchmark goes on where it was."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pandas as pd
from tqdm import tqdm

from admire_pipeline.errors import UserError
from admire_pipeline.replay.jobs import CODE, COLUMNS, Job, Plan, code_of, read_job, run_job

logger = logging.getLogger(__name__)

Task = TypeVar("Task")

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that keep a process to one thread."""

_GUESSES = {"admire-mfbo": 100.0, "random": 0.0, "uniform": 0.0}
"""How long policies take compared with the others, before any has been run."""


@dataclass(frozen=True)
class Outcome:
    """What came of running a plan.

    Attributes:
        curves: The curves of all finished jobs, columns ``jobs.COLUMNS``.
        failures: A line for each job that failed.
        reused: Number of jobs that were finished before.
        outdated: How many of these were run by code that has changed since.
    """

    curves: pd.DataFrame
    failures: tuple[str, ...]
    reused: int
    outdated: int


def run_plan(plan: Plan, processes: int, *, redo: bool = False) -> Outcome:
    """Run all jobs of a plan that are not finished, the longest first.

    Args:
        plan: What to run.
        processes: Number of processes, each of one thread; 1 runs the jobs in this process.
        redo: Whether finished jobs are run again where the code that decides them has changed.

    Returns:
        The curves. A job that fails is one line on the way and in ``failures``, and the others go
        on.

    Raises:
        UserError: If a process was killed from outside.
    """
    if plan.problem == "simulator":
        _prepare(plan, processes)
    finished, outdated = _finished(plan)
    if redo:
        finished = {job: seconds for job, seconds in finished.items() if job not in outdated}
        outdated = set()
    waiting = [job for job in plan.jobs() if job not in finished]
    waiting.sort(key=lambda job: _expected_seconds(plan, job, finished), reverse=True)
    failures = []
    bar = tqdm(
        total=len(plan.jobs()),
        initial=len(finished),
        desc=f"{plan.table.name} {plan.problem}",
        unit="job",
        mininterval=1,
        smoothing=0.05,
    )
    with bar:
        for job, error in run_tasks(partial(run_job, plan), waiting, processes):
            if error is not None:
                failures.append(f"{job}: {error}")
                bar.write(f"failed: {failures[-1]}", file=sys.stderr)
            bar.update()
    read = (read_job(plan.path(job)) for job in plan.jobs())
    frames = [frame for frame in read if frame is not None]
    curves = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
    return Outcome(curves[list(COLUMNS)], tuple(failures), len(finished), len(outdated))


def _prepare(plan: Plan, processes: int) -> None:
    """Fit what the simulators need, each metric once."""
    from admire_pipeline.replay.simulator import fit_path, save_fit

    known = plan.table.objectives()
    metrics = dict.fromkeys(metric for name in plan.objectives for metric in known[name])
    missing = [name for name in metrics if not fit_path(plan.table, name, plan.cache).exists()]
    if not missing:
        return
    work = partial(save_fit, plan.table, plan.cache)
    with tqdm(total=len(missing), desc=f"{plan.table.name} fits", unit="metric") as bar:
        for metric, error in run_tasks(work, missing, processes):
            if error is not None:
                raise UserError(f"simulator: metric {metric!r} of {plan.table.name!r}: {error}")
            bar.update()


def run_tasks(
    work: Callable[[Task], object], tasks: Sequence[Task], processes: int
) -> Iterator[tuple[Task, str | None]]:
    """Do tasks on several processes, each of one thread.

    Args:
        work: What to do with a task; both travel to other processes.
        tasks: What to do it with.
        processes: Their number; 1 does the tasks in this process.

    Yields:
        Each task as it ends, with one line about what went wrong, None if nothing did.

    Raises:
        UserError: If a process was killed from outside.
    """
    if processes == 1 or len(tasks) <= 1:
        from admire_pipeline.optimizer.numerics import one_thread

        with one_thread():
            for task in tasks:
                yield task, _try(work, task)
        return
    with _one_thread():
        # Forking a process that has loaded torch may hang; a fresh one is safe everywhere.
        executor = ProcessPoolExecutor(
            min(processes, len(tasks)), multiprocessing.get_context("spawn"), _begin_worker
        )
        before = set(multiprocessing.active_children())
        try:
            futures = {executor.submit(_try, work, task): task for task in tasks}
            yield from _as_they_end(futures)
        except BrokenProcessPool:
            raise UserError(
                "a process of the benchmark was killed (out of memory?); the same command goes on "
                "with the jobs that are left, allowed: fewer processes (benchmark.processes)"
            ) from None
        finally:
            # Also on Ctrl-C: what runs now would be lost anyway, so nobody should wait for it.
            executor.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()


def _as_they_end(futures: dict[Future[str | None], Task]) -> Iterator[tuple[Task, str | None]]:
    left = set(futures)
    while left:
        # A time-out, so that a signal is seen at once on every system.
        ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
        for future in ended:
            yield futures[future], future.result()


def _try(work: Callable[[Task], object], task: Task) -> str | None:
    """Do a task; return one line about its failure, None if there is none."""
    try:
        work(task)
    except Exception as error:
        logger.debug("%s", task, exc_info=True)
        return " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return None


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    from multiprocessing.connection import wait as wait_for

    wait_for([sentinel])
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Make the processes that are started meanwhile use one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _finished(plan: Plan) -> tuple[dict[Job, float], set[Job]]:
    """The finished jobs with their seconds, and which of them other code has run."""
    finished: dict[Job, float] = {}
    outdated: set[Job] = set()
    codes: dict[str, str] = {}
    for job in plan.jobs():
        frame = read_job(plan.path(job), ["propose_seconds", "recommend_seconds", CODE])
        if frame is None:
            continue
        finished[job] = float(frame["propose_seconds"].sum() + frame["recommend_seconds"].sum())
        if job.policy not in codes:
            policy = plan.make_policy(job.policy, plan.make_problem(job))
            codes[job.policy] = code_of(policy, plan.problem)
        if frame[CODE].iloc[0] != codes[job.policy]:
            outdated.add(job)
    return finished, outdated


def _expected_seconds(plan: Plan, job: Job, finished: dict[Job, float]) -> float:
    """How long a job takes, by those of the same policy and number of metrics if there are any."""
    known = plan.table.objectives()
    metrics = len(known[job.objective])

    def mean(jobs: Iterable[Job]) -> float | None:
        seconds = [finished[other] for other in jobs]
        return sum(seconds) / len(seconds) if seconds else None

    alike = [other for other in finished if other.policy == job.policy]
    same = [other for other in alike if len(known[other.objective]) == metrics]
    for guess in (mean(same), mean(alike)):
        if guess is not None:
            return guess
    return _GUESSES.get(job.policy, 10.0) * (10 + metrics)
