from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from admire_pipeline.training.corpus import CorpusError, parallel
from admire_pipeline.training.corpus.parallel import Workers
from tests.conftest import ROOT
from tests.training.corpus.texts import documents, write_rows


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


SCRIPT = """
from pathlib import Path

from admire_pipeline.training.corpus import files, parallel, prepare_corpus
from tests.training.corpus.texts import settings

files.PART_BYTES, parallel.INLINE_BYTES = 3000, 0
domains = {name: {"path": f"{name}.jsonl"} for name in "ab"}
prepare_corpus(settings(domains, workers=2), Path("out"), Path.cwd())
"""


def test_a_script_without_a_guard_does_not_wait_for_itself(tmp_path):
    for seed, name in enumerate("ab"):
        write_rows(tmp_path / f"{name}.jsonl", documents(60, seed))
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert 'allowed: below `if __name__ == "__main__":`' in ended.stderr
    assert "by an error that stands above" in ended.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("a-*"))
