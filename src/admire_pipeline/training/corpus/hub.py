"""Reading a dataset of the Hugging Face Hub, or a local dataset folder."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.errors import suggest
from admire_pipeline.training.corpus.errors import CorpusError, one_line
from admire_pipeline.training.corpus.files import PART_BYTES
from admire_pipeline.training.corpus.settings import DomainSettings

if TYPE_CHECKING:
    from datasets import Dataset

TIMEOUT = 10.0
"""Seconds to wait for the Hub to name a commit."""

logger = logging.getLogger(__name__)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit hash, which never means anything else."""
    return re.fullmatch("[0-9a-f]{40}", revision or "") is not None


def resolve_commit(name: str, domain: DomainSettings, root: Path) -> str | None:
    """The commit that a domain's Hub dataset is to be read at; warns where none is pinned.

    Args:
        name: Name of the domain.
        domain: Its settings.
        root: Local dataset folders are looked up here.

    Returns:
        The commit; None of other sources, or where the Hub does not tell: whether the dataset can
        be had all the same, as from a cache, shows when it is loaded.
    """
    place = domain.huggingface
    if place is None or (root / place).is_dir():
        return None
    if is_commit(domain.revision):
        return domain.revision
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(place, revision=domain.revision, timeout=TIMEOUT)
    except Exception as error:  # the Hub and the network fail in many ways
        logger.warning(
            "corpus.domains.%s.revision: the Hub does not tell the commit of %s (%s)",
            name,
            place,
            one_line(error),
        )
        return None
    if domain.revision is None:
        logger.warning(
            "corpus.domains.%s.revision: not pinned; %s is taken at its commit of now, set "
            "revision: %s to keep it",
            name,
            place,
            info.sha,
        )
    return info.sha


def load_parts(name: str, domain: DomainSettings, root: Path) -> list[Dataset]:
    """The dataset's rows in parts, memory-mapped, with the one field that is wanted.

    Args:
        name: Name of the domain.
        domain: Its settings; `huggingface` is set.
        root: Local dataset folders are looked up here.

    Raises:
        CorpusError: If the dataset cannot be had, or has not the field.
    """
    dataset = _load(name, domain, root)
    field = domain.messages or domain.text
    if field not in dataset.column_names:
        raise CorpusError(
            f"corpus.domains.{name}.{'messages' if domain.messages else 'text'}: {field!r} is not "
            f"a field of {domain.huggingface}; {suggest(field, dataset.column_names)}"
        )
    dataset = dataset.select_columns([field])
    count = max(1, min(len(dataset), dataset.data.nbytes // PART_BYTES))
    return [dataset.shard(count, index, contiguous=True) for index in range(count)]


def _load(name: str, domain: DomainSettings, root: Path) -> Dataset:
    import datasets

    place = str(domain.huggingface)
    folder = root / place
    saved = any((folder / mark).exists() for mark in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            dataset = datasets.load_from_disk(str(folder))
        else:
            dataset = datasets.load_dataset(
                str(folder) if folder.is_dir() else place,
                domain.config,
                split=domain.split,
                revision=domain.revision,
            )
    except Exception as error:  # the Hub, the network and dataset scripts fail in many ways
        raise CorpusError(
            f"corpus.domains.{name}.huggingface: cannot load {place!r}, split {domain.split!r} "
            f"({one_line(error)}); allowed: a dataset that can be reached, or a local folder"
        ) from error
    if isinstance(dataset, datasets.DatasetDict):
        if domain.split not in dataset:
            raise CorpusError(
                f"corpus.domains.{name}.split: {domain.split!r} is not in {place}; "
                f"{suggest(domain.split, map(str, dataset))}"
            )
        dataset = dataset[domain.split]
    return dataset
