from __future__ import annotations

import bz2
import gzip
import json
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from jinja2 import TemplateError

from admire_pipeline.training.corpus import CorpusError, files
from admire_pipeline.training.corpus.chat import Chat
from admire_pipeline.training.corpus.settings import DomainSettings
from admire_pipeline.training.corpus.sources import find_parts, read_documents
from admire_pipeline.training.corpus.tokenizer import ByteTokenizer

ROWS = [{"text": "one é"}, {"text": "two\nlines"}, {"text": " "}, {"text": None}, {"text": "three"}]
TEXTS = ["one é", "two\nlines", "three"]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def _read(root, **domain) -> list[str]:
    settings = DomainSettings(**domain)
    parts = find_parts("d", settings, root)
    found = [d for part in parts for d in read_documents("d", settings, part, ByteTokenizer())]
    return [d.text if isinstance(d, Chat) else d for d in found]


COMPRESS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    # Two frames, as joined files have.
    ".zst": lambda data: b"".join(
        zstandard.ZstdCompressor().compress(half) for half in (data[:30], data[30:])
    ),
}


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".ndjson"])
@pytest.mark.parametrize("suffix", COMPRESS)
def test_json_lines(tmp_path, kind, suffix):
    (tmp_path / f"a{kind}{suffix}").write_bytes(COMPRESS[suffix](LINES))
    assert _read(tmp_path, path=f"a{kind}{suffix}") == TEXTS


@pytest.mark.parametrize("suffix", COMPRESS)
def test_json_array(tmp_path, suffix):
    (tmp_path / f"a.json{suffix}").write_bytes(COMPRESS[suffix](json.dumps(ROWS).encode()))
    assert _read(tmp_path, path=f"a.json{suffix}") == TEXTS


@pytest.mark.parametrize("data", [LINES, json.dumps(ROWS).encode()])
def test_json_with_a_byte_order_mark(tmp_path, data):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + data)
    assert _read(tmp_path, path="a.json") == TEXTS


def test_brackets_in_the_projects_path_are_no_pattern(tmp_path):
    root = tmp_path / "work[1]"
    root.mkdir()
    (root / "a.jsonl").write_bytes(LINES)
    assert _read(root, path="*.jsonl") == _read(root, path=str(tmp_path / "work?1?/*l")) == TEXTS


def test_chat_that_the_template_refuses(tmp_path):
    class Strict(ByteTokenizer):
        def render_chat(self, messages):
            raise TemplateError("roles must alternate")

    (tmp_path / "a.jsonl").write_text(json.dumps({"m": [{"role": "user", "content": "x"}]}))
    domain = DomainSettings(path="a.jsonl", messages="m")
    (part,) = find_parts("d", domain, tmp_path)
    with pytest.raises(CorpusError, match=r"domains\.d\.messages: .* refuses .*row 1 \(roles must"):
        list(read_documents("d", domain, part, Strict()))


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert _read(tmp_path, path="a.parquet") == TEXTS


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("file", ["a\nb\n\n\nc\n"]),
        ("line", ["a", "b", "c"]),
        ("paragraph", ["a\nb\n", "c\n"]),
    ],
)
def test_text_with_a_byte_order_mark(tmp_path, document, expected):
    (tmp_path / "a.md.gz").write_bytes(gzip.compress("\ufeffa\nb\n\n\nc\n".encode()))
    assert _read(tmp_path, path="a.md.gz", document=document) == expected


def test_globs_are_sorted_and_relative_to_the_root(tmp_path):
    for name in ("b/2.txt", "b/c/1.txt", "a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert _read(tmp_path, path=["b/**/*.txt", "a.txt", "b/*.txt"]) == [
        "a.txt",
        "b/2.txt",
        "b/c/1.txt",
    ]
    assert _read(tmp_path / "b", path=str(tmp_path / "a.txt")) == ["a.txt"]


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    (tmp_path / "a[1].txt").write_text("x")
    assert _read(tmp_path, path="a[1].txt") == ["x"]


def test_large_files_are_read_in_parts(tmp_path, monkeypatch):
    texts = [f"{'x' * (i * 37 % 90)} {i}" for i in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=30)
    monkeypatch.setattr(files, "PART_BYTES", 1000)
    for name in ("a.jsonl", "a.parquet"):
        assert len(find_parts("d", DomainSettings(path=name), tmp_path)) > 3
        assert _read(tmp_path, path=name) == texts


def test_part_limits_on_line_limits(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text":"abcd"}\n' * 20)
    for size in range(1, 50):
        monkeypatch.setattr(files, "PART_BYTES", size)
        assert _read(tmp_path, path="a.jsonl") == ["abcd"] * 20


CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_messages(tmp_path, kind):
    rows = [{"chat": CHAT}, {"chat": []}]
    if kind == "jsonl":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert _read(tmp_path, path=f"a.{kind}", messages="chat") == ["user: hi\n\nassistant: yes"]


@pytest.mark.parametrize(
    ("domain", "content", "message"),
    [
        ({"text": "body"}, LINES, r"\.text: 'body' is not a field of .*a.jsonl, row 1; allowed: t"),
        ({}, b'{"text":1}\n', r"\.text: 'text' holds a int in .*row 1; allowed: text"),
        ({}, b'{"text":"a"}\n{', r"\.path: cannot read .*a.jsonl \(row 2 is not JSON: .*; allowed"),
        ({}, b'"a"\n', r"\.path: cannot read .*row 1 is not a JSON object"),
        ({"messages": "text"}, LINES, r"\.messages: 'text' is not a chat in .*row 1; allowed: a l"),
        ({"messages": "x"}, LINES, r"\.messages: 'x' is not a field of .*; allowed: text"),
    ],
)
def test_bad_rows(tmp_path, domain, content, message):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(CorpusError, match=r"corpus\.domains\.d" + message) as error:
        _read(tmp_path, path="a.jsonl", **domain)
    assert "\n" not in str(error.value)


def test_a_parquet_file_without_the_field(tmp_path):
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"'text' is not a field of .*its schema; allowed: a, b"):
        _read(tmp_path, path="a.parquet")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\xff\xfe\x00"),
        ("a.txt.gz", b"not compressed"),
        ("a.txt.xz", b"not compressed"),
        ("a.txt.bz2", b"not compressed"),
        ("a.txt.zst", b"not compressed"),
        ("a.txt.gz", gzip.compress(np.random.default_rng(0).bytes(999))[:500]),
        ("a.parquet", b"no parquet"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=r"corpus\.domains\.d\.path: cannot read .*; allowed: U"):
        _read(tmp_path, path=name)


def test_no_file_matches(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"d\.path: no file matches 'b\*\.txt'; allowed: an exi"):
        _read(tmp_path, path=["a.txt", "b*.txt"])
