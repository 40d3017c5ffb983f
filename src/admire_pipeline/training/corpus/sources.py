"""Where the documents of a domain come from: embedded text, the user's files, Hugging Face."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from admire_pipeline.errors import suggest
from admire_pipeline.training.corpus import files
from admire_pipeline.training.corpus.chat import Chat
from admire_pipeline.training.corpus.embedded import EMBEDDED, MAX_BYTES
from admire_pipeline.training.corpus.errors import REACHABLE, CorpusError, one_line
from admire_pipeline.training.corpus.settings import DomainSettings
from admire_pipeline.training.corpus.tokenizer import Tokenizer

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What damaged or foreign files raise; decoders of text, JSON and Parquet raise ValueErrors."""


@dataclass(frozen=True)
class Part:
    """What one process reads of a source.

    Attributes:
        origin: Name of an embedded domain, a part of a file, or rows of a Hugging Face dataset.
        held_out: Whether it is a source of validation documents only.
        size: About how many bytes it has.
    """

    origin: str | files.FilePart | Dataset | IterableDataset
    held_out: bool = False
    size: int = 0


def fingerprint(name: str, domain: DomainSettings, root: Path) -> Any:
    """What tells whether a source has changed, found out without reading it: JSON-able.

    Versions of the distributions (embedded); path, size and modification time of every file; name,
    configuration, split and revision (Hugging Face).

    Raises:
        CorpusError: If no file matches.
    """
    if domain.embedded is not None:
        return EMBEDDED[domain.embedded].versions()
    if domain.path is not None:
        return [
            [_stamp(path, root) for path in _find(name, key, patterns, root)]
            for key, patterns in _paths(domain)
        ]
    return stamps(root / str(domain.huggingface), root)


def stamps(folder: Path, root: Path) -> list[tuple[str, int, int]]:
    """Path, size and modification time of every file in a folder; none if there is no folder."""
    return [_stamp(path, root) for path in sorted(folder.rglob("*")) if path.is_file()]


def find_parts(name: str, domain: DomainSettings, root: Path) -> list[Part]:
    """The parts of a domain's source, in a fixed order.

    Raises:
        CorpusError: If the source is not there.
    """
    if domain.embedded is not None:
        return [Part(domain.embedded)]
    if domain.path is not None:
        return [
            Part(part, held_out=key == "validation", size=part.size)
            for key, patterns in _paths(domain)
            for path in _find(name, key, patterns, root)
            for part in files.split_file(path)
        ]
    from admire_pipeline.training.corpus.hub import load_parts, size_of

    return [
        Part(rows, held_out, size_of(rows))
        for held_out in ([False, True] if domain.validation is not None else [False])
        for rows in load_parts(name, domain, root, held_out)
    ]


def read_documents(
    name: str, domain: DomainSettings, part: Part, tokenizer: Tokenizer
) -> Iterator[str | Chat]:
    """Documents of a part, in order; blank ones, and chats without an answer, are left out.

    Args:
        name: Name of the domain.
        domain: Its settings.
        part: What to read.
        tokenizer: Renders chats.

    Raises:
        CorpusError: If it cannot be read, or a row has not the configured field.
    """
    origin = part.origin
    if isinstance(origin, str):
        yield from EMBEDDED[origin].read(domain.max_bytes or MAX_BYTES)
    elif isinstance(origin, files.FilePart):
        try:
            for document in _file_documents(name, domain, origin, tokenizer):
                if _holds_text(document):
                    yield document
        except CorpusError:
            raise
        except _UNREADABLE as error:
            raise CorpusError(
                f"corpus.domains.{name}.{'validation' if part.held_out else 'path'}: cannot read "
                f"{origin.path} ({one_line(error)}); allowed: UTF-8 text, JSON lines or Parquet"
            ) from error
    else:
        for number, row in enumerate(_rows(name, domain, origin), start=1):
            place = f"{domain.huggingface}, row {number}"
            if not _wanted(name, domain, row, place):
                continue
            document = _document(name, domain, row, place, tokenizer)
            if _holds_text(document):
                yield document


def _holds_text(document: str | Chat) -> bool:
    if isinstance(document, Chat):
        return any(document.text[start:stop].strip() for start, stop in document.spans)
    return bool(document.strip())


def _rows(
    name: str, domain: DomainSettings, rows: Dataset | IterableDataset
) -> Iterator[dict[str, Any]]:
    try:
        yield from rows
    except Exception as error:  # a dataset that is read while it is downloaded fails in many ways
        raise CorpusError(
            f"corpus.domains.{name}.huggingface: cannot read {domain.huggingface!r} "
            f"({one_line(error)}); {REACHABLE}"
        ) from error


def _file_documents(
    name: str, domain: DomainSettings, part: files.FilePart, tokenizer: Tokenizer
) -> Iterator[str | Chat]:
    if not files.is_table(part.path):
        if domain.where:
            raise CorpusError(
                f"corpus.domains.{name}.where: {part.path} is plain text; allowed: JSON or Parquet"
            )
        yield from files.read_text(part, domain.document)
        return
    for row_place, row in files.read_rows(part, [domain.messages or domain.text, *domain.where]):
        place = f"{part.path}, {row_place}"
        if _wanted(name, domain, row, place):
            yield _document(name, domain, row, place, tokenizer)


def _wanted(name: str, domain: DomainSettings, row: Mapping[str, Any], place: str) -> bool:
    """Whether a row has the values that the domain asks for."""
    for field in domain.where:
        if field not in row:
            raise CorpusError(
                f"corpus.domains.{name}.where: {field!r} is not a field of {place}; "
                f"{suggest(field, map(str, row))}"
            )
    return all(row[field] == value for field, value in domain.where.items())


def _document(
    name: str, domain: DomainSettings, row: Mapping[str, Any], place: str, tokenizer: Tokenizer
) -> str | Chat:
    """Text or chat of a row; empty where the field is null."""
    field = domain.messages or domain.text
    key = f"corpus.domains.{name}." + ("messages" if domain.messages else "text")
    if field not in row:
        raise CorpusError(
            f"{key}: {field!r} is not a field of {place}; allowed: {', '.join(map(str, row))}"
        )
    value = row[field]
    if value is None:
        return ""
    if domain.messages is None:
        if not isinstance(value, str):
            raise CorpusError(
                f"{key}: {field!r} holds a {type(value).__name__} in {place}; allowed: text"
            )
        return value
    if not isinstance(value, list) or not all(
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        for message in value
    ):
        raise CorpusError(
            f"{key}: {field!r} is not a chat in {place}; allowed: a list of {{role, content}}, "
            "both text"
        )
    if not value:
        return ""
    try:
        return tokenizer.render_chat(value)
    except Exception as error:  # a template may refuse a chat in its own words
        raise CorpusError(
            f"{key}: the tokenizer's chat template refuses {place} ({one_line(error)}); allowed: "
            "chats of the form it expects"
        ) from error


def _paths(domain: DomainSettings) -> list[tuple[str, str | list[str]]]:
    sources = [("path", domain.path), ("validation", domain.validation)]
    return [(key, patterns) for key, patterns in sources if patterns is not None]


def _find(name: str, key: str, patterns: str | list[str], root: Path) -> list[Path]:
    try:
        return files.find_files(patterns, root)
    except FileNotFoundError as error:
        raise CorpusError(
            f"corpus.domains.{name}.{key}: no file matches {error.args[0]!r}; allowed: an existing "
            "file or a glob of files"
        ) from None


def _stamp(path: Path, root: Path) -> tuple[str, int, int]:
    status = path.stat()
    place = path.relative_to(root) if path.is_relative_to(root) else path
    return place.as_posix(), status.st_size, status.st_mtime_ns
