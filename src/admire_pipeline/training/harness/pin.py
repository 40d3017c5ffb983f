"""The dataset of a benchmark task at one commit of the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def pinned(revision: str | None) -> Iterator[None]:
    """Have what is loaded within the block read at this commit; None: as the harness does.

    The harness knows `dataset_kwargs` of a task, but none of a group for its members.
    """
    import datasets

    load = datasets.load_dataset
    if revision is not None:
        datasets.load_dataset = partial(load, revision=revision)
    try:
        yield
    finally:
        datasets.load_dataset = load
