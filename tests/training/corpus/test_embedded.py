from __future__ import annotations

import subprocess
import sys

import pytest

from admire_pipeline.training.corpus.embedded import EMBEDDED, MAX_BYTES, Embedded
from admire_pipeline.training.corpus.embedded.arithmetic import documents
from admire_pipeline.training.corpus.embedded.files import PYTHON, Files, beginning

LEAST = {"legal": 500_000}  # there is no more of it


# Prose takes two seconds; `test_prepare` builds others.
@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_there_is_enough_of_every_domain(name):
    texts = list(EMBEDDED[name].read())
    limit = EMBEDDED[name].limit
    size = sum(len(text.encode()) for text in set(texts))
    assert LEAST.get(name, 1_000_000) <= size <= MAX_BYTES
    assert max(map(len, texts)) <= limit
    assert len(texts) >= 60


def test_the_same_in_every_process():
    code = (
        "import hashlib; from admire_pipeline.training.corpus.embedded import EMBEDDED;"
        "print(hashlib.sha256(repr([list(EMBEDDED[n].read()) for n in ('web', 'arithmetic')])"
        ".encode()).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def test_answers_are_right():
    text = "\n".join(text for text, _ in zip(documents(), range(50), strict=False))
    sums = 0
    for question, answer in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if question.startswith("What is ") and " + " in question:
            one, two = question.removeprefix("What is ").rstrip("?").split(" + ")
            assert int(one) + int(two) == int(answer)
            sums += 1
        if question.startswith("Sort "):
            numbers = [int(n) for n in question.removeprefix("Sort ").rstrip(".").split(", ")]
            assert sorted(numbers) == [int(n) for n in answer.split(", ")]
    assert sums > 50


def test_beginning_ends_with_a_line():
    text = "".join(f"line {i}\n" for i in range(100))
    assert beginning(text, 50) == text[:49]
    assert beginning(text, len(text)) == text
    assert beginning("x" * 10, 4) == "xxxx"


def test_a_long_file_is_one_document():
    """In pieces it could stand on both sides of the validation split."""
    domain = Embedded("", lambda: iter(["line\n" * 1000, "other\n"]), limit=52)
    assert list(domain.read()) == ["line\n" * 10, "other\n"]


def test_more_is_read_where_it_is_asked_for():
    domain = Embedded("", lambda: iter(["x" * 999_999, "y" * 999_999, "z" * 999_999]), limit=10**6)
    assert len(list(domain.read())) == 2
    assert len(list(domain.read(3_000_000))) == 3
    assert len(list(domain.read(1_000_000))) == 1


def test_what_is_not_there_is_passed_over():
    assert list(Files("no-such-distribution", "x", ("*",)).read()) == []
    assert list(Files(PYTHON, "no-such-folder", ("*",)).read()) == []


def test_files_that_are_not_utf8_are_passed_over(tmp_path, monkeypatch):
    from admire_pipeline.training.corpus.embedded import files

    (tmp_path / "a.txt").write_bytes(b"\xff")
    (tmp_path / "b.txt").write_bytes(b"text")
    monkeypatch.setattr(files, "root", lambda _: tmp_path)
    assert list(Files("x", "", ("*.txt",)).read()) == ["text"]
