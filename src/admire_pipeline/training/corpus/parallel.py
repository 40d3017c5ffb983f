"""Running jobs in worker processes that end with their parent, results in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tqdm.auto import tqdm

from admire_pipeline.credentials import mask_logs
from admire_pipeline.training.corpus.errors import CorpusError

Job = TypeVar("Job")
Result = TypeVar("Result")

INLINE_BYTES = 8_000_000
"""Less than this is done in this process: starting workers would take longer."""


class Workers:
    """A pool of processes, started when there is first enough to do.

    Args:
        count: Processes; 1 does everything in this one.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], size: int, title: str
    ) -> Iterator[Result]:
        """Results of the jobs in their order, with a progress bar once it takes some seconds.

        Args:
            function: Importable by name, as are the jobs' types.
            jobs: What it is called with.
            size: Bytes that they read in all; decides whether processes are worth their start.
            title: Of the progress bar.

        Raises:
            CorpusError: If a worker is killed from outside, or cannot begin.
        """
        results: Iterator[Result]
        if self._count == 1 or len(jobs) == 1 or size < INLINE_BYTES:
            results = map(function, jobs)
        else:
            results = self._start().map(function, jobs)
        try:
            yield from tqdm(results, title, len(jobs), delay=3, leave=False)
        except BrokenProcessPool as error:
            raise CorpusError(
                f"corpus.workers: one of {self._count} workers was ended, by an error that stands "
                "above, or killed, perhaps for lack of memory; allowed: fewer workers"
            ) from error

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # A forked child would inherit locks that other threads of this process hold.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, context, _begin_worker)
        return self._pool


def _begin_worker() -> None:
    mask_logs()
    # One process per core is enough: a tokenizer's own threads would only compete.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's workers outlive a parent that is killed, waiting for ever."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
