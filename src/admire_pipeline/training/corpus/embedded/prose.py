"""English technical prose: docstrings, Python's help topics and package descriptions."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from importlib import metadata

from admire_pipeline.training.corpus.embedded.files import Files, read_text

DISTRIBUTIONS = ("scipy", "scikit-learn", "numpy", "torch", "pandas", "matplotlib", "mlflow")
"""Whose docstrings are read, in turns."""

_PACKAGES = {"scikit-learn": "sklearn"}
_SHORTEST = 300  # characters; shorter docstrings are labels, not prose


def documents() -> Iterator[str]:
    """Help topics, Markdown and descriptions first, then the docstrings, package by package."""
    yield from _topics()
    for part in (
        Files("scikit-learn", "sklearn/datasets/descr", ("*.rst",)),
        Files("mlflow", "mlflow", ("*.md",)),
    ):
        yield from part.read()
    for name in DISTRIBUTIONS:
        description = _description(name)
        if description:
            yield description
    sources = [_docstrings(name) for name in DISTRIBUTIONS]
    while sources:
        for source in list(sources):
            document = next(source, None)
            if document is None:
                sources.remove(source)
            else:
                yield document


def _topics() -> Iterator[str]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some distributions of Python leave it out
        return
    yield from (topics[name] for name in sorted(topics))


def _description(distribution: str) -> str | None:
    try:
        return metadata.metadata(distribution).get_payload()  # type: ignore[attr-defined]
    except metadata.PackageNotFoundError:
        return None


def _docstrings(distribution: str) -> Iterator[str]:
    """One document per module: its docstrings of some length, doctests left out."""
    package = _PACKAGES.get(distribution, distribution)
    for _, path in Files(distribution, package, ("*.py",), ("tests", "testing")).paths():
        source = read_text(path)
        # Parsing is the slow part: modules with hardly a docstring are not parsed.
        if source is None or source.count('"""') < 4:
            continue
        try:
            tree = ast.parse(source)
        except SyntaxError:  # templates, and code for other versions of Python
            continue
        found = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = _without_doctests(ast.get_docstring(node) or "")
                if len(text) >= _SHORTEST:
                    found.append(text)
        if found:
            yield "\n\n".join(found)


def _without_doctests(docstring: str) -> str:
    """Everything but the `Examples` section, which is code."""
    lines = inspect.cleandoc(docstring).splitlines()
    for number, line in enumerate(lines[1:]):
        if set(line) == {"-"} and lines[number].strip() in ("Examples", "Example"):
            lines = lines[:number]
            break
    return "\n".join(line for line in lines if not line.lstrip().startswith((">>>", "..."))).strip()
