from __future__ import annotations

import os
import signal

import pytest

from admire_pipeline.training.corpus import CorpusError, parallel
from admire_pipeline.training.corpus.parallel import Workers


def _end(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_are_in_order_of_the_jobs(monkeypatch):
    monkeypatch.setattr(parallel, "INLINE_BYTES", 0)
    with Workers(2) as workers:
        assert list(workers.run(abs, [-3, 2, -1, 0], 1, "test")) == [3, 2, 1, 0]


def test_little_work_starts_no_processes():
    with Workers(2) as workers:
        assert list(workers.run(abs, [-3, 2], 1, "test")) == [3, 2]
        assert workers._pool is None


def test_a_killed_worker_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(parallel, "INLINE_BYTES", 0)
    with (
        Workers(2) as workers,
        pytest.raises(CorpusError, match=r"corpus\.workers: one of 2 .*; allowed: fewer workers"),
    ):
        list(workers.run(_end, [1, 2], 1, "test"))
