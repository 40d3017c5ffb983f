"""Reading a dataset of the Hugging Face Hub, or a local dataset folder."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admire_pipeline.errors import suggest
from admire_pipeline.training.corpus.errors import REACHABLE, CorpusError, one_line
from admire_pipeline.training.corpus.files import PART_BYTES
from admire_pipeline.training.corpus.settings import DomainSettings

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

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


def load_parts(
    name: str, domain: DomainSettings, root: Path, held_out: bool = False
) -> list[Dataset] | list[IterableDataset]:
    """The dataset's rows in parts, memory-mapped, with the fields that are wanted.

    Where the domain has `max_bytes`, a dataset of files is one part, read as it is downloaded.

    Args:
        name: Name of the domain.
        domain: Its settings; `huggingface` is set.
        root: Local dataset folders are looked up here.
        held_out: The files of `validation` rather than those of `files`.

    Raises:
        CorpusError: If the dataset cannot be had, or has not the field.
    """
    import datasets

    dataset = _load(name, domain, root, domain.validation if held_out else domain.files)
    if isinstance(dataset, datasets.IterableDataset):
        return [dataset]
    field = domain.messages or domain.text
    for key, wanted in [("messages" if domain.messages else "text", field)] + [
        ("where", key) for key in domain.where
    ]:
        if wanted not in dataset.column_names:
            raise CorpusError(
                f"corpus.domains.{name}.{key}: {wanted!r} is not a field of {domain.huggingface}; "
                f"{suggest(wanted, dataset.column_names)}"
            )
    dataset = dataset.select_columns([*dict.fromkeys([field, *domain.where])])
    for key, value in domain.where.items():
        dataset = _select(name, domain, dataset, key, value)
    count = max(1, min(len(dataset), size_of(dataset) // PART_BYTES))
    return [dataset.shard(count, index, contiguous=True) for index in range(count)]


def size_of(rows: Dataset | IterableDataset) -> int:
    """About how many bytes the rows have; 0 of those that are not there yet."""
    data = getattr(rows, "data", None)
    # Rows that were selected share the table of all.
    return 0 if data is None else data.nbytes * len(rows) // max(1, len(data))


def _select(name: str, domain: DomainSettings, dataset: Dataset, key: str, value: Any) -> Dataset:
    # All at once: a row at a time, the rows that are not wanted would be read whole.
    values = dataset[key][:]
    chosen = [index for index, found in enumerate(values) if found == value]
    if not chosen:
        known = sorted({str(found) for found in values})
        raise CorpusError(
            f"corpus.domains.{name}.where.{key}: {value!r} is in no row of {domain.huggingface}; "
            f"{suggest(str(value), known[:30])}"
        )
    return dataset.select(chosen)


def _load(
    name: str, domain: DomainSettings, root: Path, files: str | list[str] | None
) -> Dataset | IterableDataset:
    import datasets

    place = str(domain.huggingface)
    folder = root / place
    saved = any((folder / mark).exists() for mark in ("dataset_dict.json", "state.json"))
    if saved and files is not None:
        raise CorpusError(
            f"corpus.domains.{name}.files: {place!r} was saved by datasets' save_to_disk; "
            "allowed: no files, or a folder of JSON, Parquet or text files"
        )
    options: dict[str, Any] = {"split": domain.split, "revision": domain.revision}
    if files is not None:
        options["data_files"] = {domain.split: files}
    if domain.max_bytes is not None:
        options["streaming"] = True
    try:
        if saved:
            dataset = datasets.load_from_disk(str(folder))
        else:
            dataset = datasets.load_dataset(
                str(folder) if folder.is_dir() else place, domain.config, **options
            )
    except Exception as error:  # the Hub, the network and dataset scripts fail in many ways
        raise CorpusError(
            f"corpus.domains.{name}.huggingface: cannot load {place!r}, split {domain.split!r} "
            f"({one_line(error)}); {REACHABLE}"
        ) from error
    if isinstance(dataset, datasets.DatasetDict):
        if domain.split not in dataset:
            raise CorpusError(
                f"corpus.domains.{name}.split: {domain.split!r} is not in {place}; "
                f"{suggest(domain.split, map(str, dataset))}"
            )
        dataset = dataset[domain.split]
    return dataset
