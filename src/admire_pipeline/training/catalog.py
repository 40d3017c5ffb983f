"""The corpus as a Kedro dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from admire_pipeline.training.corpus import Corpus, check_settings, prepare_corpus


class CorpusDataset(AbstractDataset[Any, Any]):
    """Domains of text as memory-mapped token shards, built when missing or stale.

    Args:
        filepath: Folder of the shards.
        metadata: Anything; Kedro and its plugins read it.
        settings: Fields of `CorpusSettings`: `domains`, `tokenizer` and so on.
    """

    def __init__(self, filepath: str, metadata: Any = None, **settings: Any) -> None:
        self.metadata = metadata
        self._folder = Path(filepath)
        self._root: Path | None = None
        self._settings = settings

    def look_in(self, root: Path) -> None:
        """Take relative paths of the domains as relative to this folder."""
        self._root = root

    def load(self) -> Corpus:
        """Build what is missing or stale, and open the shards."""
        return prepare_corpus(check_settings(self._settings), self._folder, self._root)

    def save(self, data: Any) -> None:
        """Not possible: the corpus follows from its domains."""
        raise DatasetError("CorpusDataset is read-only")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder), **self._settings}
