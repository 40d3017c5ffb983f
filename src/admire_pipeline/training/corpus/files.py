"""Reading the user's files: JSON rows, Parquet rows and plain text, compressed or not."""

from __future__ import annotations

import bz2
import codecs
import glob
import gzip
import io
import json
import lzma
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import zstandard

PART_BYTES = 16_000_000
"""Larger files that can be entered in the middle are read in parts of about this size."""

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class FilePart:
    """A part of a file that one process reads.

    Attributes:
        path: The file.
        start: First byte (JSON lines) or row group (Parquet).
        stop: End of the part, exclusive; None: the end of the file.
        size: Bytes on disk.
    """

    path: Path
    start: int = 0
    stop: int | None = None
    size: int = 0


def find_files(patterns: str | list[str], root: Path) -> list[Path]:
    """Files that match, sorted; relative patterns are looked up in `root`.

    Raises:
        FileNotFoundError: If one of the patterns matches no file; its argument is the pattern.
    """
    found: set[Path] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        place = os.path.expanduser(pattern)
        # `root_dir`: brackets in the project's own path are no pattern.
        exact = os.path.isfile(root / place)
        matches = [place] if exact else glob.glob(place, root_dir=root, recursive=True)
        files = {root / match for match in matches if os.path.isfile(root / match)}
        if not files:
            raise FileNotFoundError(pattern)
        found |= files
    return sorted(found)


def split_file(path: Path) -> list[FilePart]:
    """The parts in which a file can be read by several processes."""
    size = path.stat().st_size
    kind = path.suffix.lower()
    if size <= PART_BYTES or kind not in (*_LINES, *_PARQUET):
        return [FilePart(path, size=size)]
    if kind in _LINES:
        ends = range(PART_BYTES, size + PART_BYTES, PART_BYTES)
        return [FilePart(path, end - PART_BYTES, end, PART_BYTES) for end in ends]
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    parts, start, filled = [], 0, 0
    for row_group in range(metadata.num_row_groups):
        filled += metadata.row_group(row_group).total_byte_size
        if filled >= PART_BYTES or row_group + 1 == metadata.num_row_groups:
            parts.append(FilePart(path, start, row_group + 1, filled))
            start, filled = row_group + 1, 0
    return parts


def is_table(path: Path) -> bool:
    """Whether the file holds rows with fields, not plain text."""
    return _kind(path) in (*_LINES, *_PARQUET, ".json")


def read_rows(part: FilePart, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a part, each after the words that name its place.

    Args:
        part: Of a file for which `is_table` holds.
        fields: Those that are wanted; of Parquet files, only they are read if they are there.

    Raises:
        ValueError: If a row is no JSON object.
    """
    if _kind(part.path) in _PARQUET:
        yield from _parquet_rows(part, fields)
        return
    with open_binary(part.path) as file:
        beginning = file.peek(64)[:64].removeprefix(codecs.BOM_UTF8)
        if _kind(part.path) == ".json" and beginning.lstrip()[:1] == b"[":
            rows: Iterator[Any] = iter(json.loads(file.read().decode("utf-8-sig")))
        else:
            rows = (line for line in _lines(file, part) if line.strip())
        for number, row in enumerate(rows, start=1):
            place = f"row {number}" + (f" after byte {part.start}" if part.start else "")
            yield place, _json_object(row, place)


def _json_object(row: Any, place: str) -> dict[str, Any]:
    if isinstance(row, bytes):
        try:
            row = json.loads(row.removeprefix(codecs.BOM_UTF8))
        except ValueError as error:
            raise ValueError(f"{place} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place} is not a JSON object")
    return row


def _lines(file: io.BufferedReader, part: FilePart) -> Iterator[bytes]:
    """Lines that begin within the part."""
    if part.start:
        file.seek(part.start - 1)
        file.readline()
    while (part.stop is None or file.tell() < part.stop) and (line := file.readline()):
        yield line


def _parquet_rows(part: FilePart, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(part.path) as file:
        names = file.schema_arrow.names
        if not set(fields) <= set(names):
            yield "its schema", dict.fromkeys(names)
            return
        groups = range(part.start, file.num_row_groups if part.stop is None else part.stop)
        number = 0
        for batch in file.iter_batches(1024, row_groups=list(groups), columns=list(fields)):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


def read_text(part: FilePart, document: Literal["file", "line", "paragraph"]) -> Iterator[str]:
    """Documents of a plain text file."""
    with io.TextIOWrapper(open_binary(part.path), encoding="utf-8-sig", newline="") as file:
        if document == "file":
            yield file.read()
        elif document == "line":
            yield from (line.rstrip("\r\n") for line in file)
        else:
            yield from _paragraphs(file)


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield "".join(paragraph)
            paragraph = []
    yield "".join(paragraph)


def open_binary(path: Path) -> io.BufferedReader:
    """The file's bytes, decompressed."""
    kind = path.suffix.lower()
    if kind == ".zst":
        stream = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), read_across_frames=True, closefd=True
        )
        return io.BufferedReader(cast(io.RawIOBase, stream))
    readers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    # The standard library's decompressing files do all that a BufferedReader does.
    return cast(io.BufferedReader, readers[kind](path) if kind in readers else path.open("rb"))


def _kind(path: Path) -> str:
    """Suffix in lower case, that of the compression left out."""
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).suffix.lower()
