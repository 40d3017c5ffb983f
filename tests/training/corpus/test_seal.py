"""Shards that have changed since they were built are refused, whatever changed them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from admire_pipeline.training.corpus import Corpus, prepare_corpus, seal
from admire_pipeline.training.corpus.errors import CorpusError
from tests.chaos import Chaos
from tests.damage import KINDS, damage
from tests.training.corpus.texts import documents, settings, write_rows

NAMES = ("a", "b")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        write_rows(tmp_path / f"{name}.jsonl", documents(30, seed))
    return tmp_path


def prepare(sources: Path) -> Corpus:
    return prepare_corpus(
        settings({name: {"path": f"{name}.jsonl"} for name in NAMES}), sources / "out", sources
    )


@pytest.mark.chaos
def test_any_change_is_refused_until_the_folder_is_deleted(sources: Path, chaos: Chaos) -> None:
    corpus = prepare(sources)
    found = corpus.manifest["hash"]
    fault = chaos.fault("a file of the corpus is truncated, or a bit of it flipped")
    chance = random.Random(10)
    names = sorted(path.name for path in corpus.folders["a"].iterdir())
    assert {"train.tokens", "train.offsets.npy", "manifest.json", "seal.json"} <= set(names)
    for _ in range(5 if chaos.full else 1):
        for name in names:
            for kind in KINDS:
                path = corpus.folders["a"] / name
                before = path.stat()
                damage(path, kind, chance)
                # As a copy that keeps the times would leave it.
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
                with pytest.raises(CorpusError) as refused:
                    prepare(sources)
                    fault.lost += 1  # it is trained on, or measured
                assert str(refused.value).startswith(
                    f"corpus.domains.a: {name} does not hold what was written to it; allowed: "
                )
                assert str(corpus.folders["a"]) in str(refused.value)
                with fault.recovering():
                    shutil.rmtree(corpus.folders["a"])
                    fault.lost += prepare(sources).manifest["hash"] != found
                assert fault.lost == 0
    damage(corpus.overlaps, "flipped", chance)
    with pytest.raises(CorpusError, match=r"overlaps-.*\.json does not hold .* is deleted"):
        _ = prepare(sources).manifest
    corpus.overlaps.unlink()
    (corpus.folders["b"] / "validation.npz").unlink()
    with pytest.raises(CorpusError, match=r"domains\.b: validation\.npz is missing"):
        prepare(sources)


def test_files_that_nobody_touched_are_read_once(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = prepare(sources)
    read = []
    monkeypatch.setattr(seal, "check_files", lambda folder, _: read.append(folder))
    prepare(sources)
    assert read == []
    os.utime(corpus.folders["b"] / "train.tokens")
    prepare(sources)
    corpus.check()
    assert read == [corpus.folders["b"]]


SCRIPT = """
import sys
from pathlib import Path
from admire_pipeline.training.corpus import prepare_corpus
from tests.training.corpus.texts import settings

here = Path(sys.argv[1])
for _ in range(3):
    for number in map(int, sys.argv[2].split(",")):
        domains = {name: {"path": f"{name}.jsonl"} for name in "ab"}
        chosen = settings(domains, passage_bytes=64 + number)
        print(number, prepare_corpus(chosen, here / "out", here).manifest["hash"])
"""


@pytest.mark.chaos
def test_campaigns_with_other_corpora_share_a_folder(sources: Path, chaos: Chaos) -> None:
    """Four processes at once: each of three corpora is wanted by some of them."""
    fault = chaos.fault("four processes build three corpora in one folder at once")
    for _ in range(10 if chaos.full else 1):
        shutil.rmtree(sources / "out", ignore_errors=True)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(sources), order],
                stdout=subprocess.PIPE,
                text=True,
            )
            for order in ("0,1", "1,2", "2,0", "0,1,2")
        ]
        with fault.recovering():
            outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * 4
        hashes = {line for output in outputs for line in output.splitlines()}
        folders = [path.name for path in (sources / "out").iterdir()]
        built = sum(name.startswith(NAMES) for name in folders)
        fault.lost += max(0, 6 - built)
        fault.duplicated += max(0, built - 6) + len(hashes) - 3
        assert (fault.lost, fault.duplicated) == (0, 0), "each corpus, whoever built it, is one"
        assert not [name for name in folders if name.startswith(".building-")]
