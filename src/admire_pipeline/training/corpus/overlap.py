"""Training documents that resemble what another domain is validated on.

A domain's own split keeps near-duplicates on one side. Domains are built one by one, so what they
have in common is found afterwards, and left out where sequences are drawn: a search would otherwise
give weight to a domain for holding another one's answers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from admire_pipeline.integrity import DamagedError, read_sealed, write_sealed
from admire_pipeline.training.corpus.duplicates import resembling
from admire_pipeline.training.corpus.errors import CorpusError
from admire_pipeline.training.corpus.shards import open_signatures
from admire_pipeline.training.corpus.split import TRAIN, VALIDATION

LEFT_OUT = "left out"
"""Key of the documents, by domain."""

logger = logging.getLogger(__name__)


def find_overlaps(folders: Mapping[str, Path], target: Path) -> None:
    """Find the documents to leave out of each domain and keep them in a file, whole or not at all.

    Args:
        folders: The built folder of each domain.
        target: Of the file, see `read_overlaps`.
    """
    held_out = {name: open_signatures(folder, VALIDATION) for name, folder in folders.items()}
    found = {}
    for name, folder in folders.items():
        trained = open_signatures(folder, TRAIN)
        others = np.concatenate([trained[:0], *(s for n, s in held_out.items() if n != name)])
        found[name] = resembling(trained, others)
        if len(found[name]):
            logger.warning(
                "Corpus domain %s: %d of %d training documents resemble validation documents of "
                "other domains and are left out",
                name,
                len(found[name]),
                len(trained),
            )
    write_sealed(target, {LEFT_OUT: {name: rows.tolist() for name, rows in found.items()}})


def read_overlaps(path: Path) -> dict[str, np.ndarray]:
    """Positions of the documents to leave out of each domain, ascending, int64.

    Raises:
        CorpusError: If the file does not hold what was written to it.
    """
    try:
        found = read_sealed(path)[LEFT_OUT]
    except DamagedError as damage:
        raise CorpusError(
            f"corpus.domains: {damage}; once {path} is deleted, the next step makes it again"
        ) from damage
    return {name: np.array(rows, np.int64) for name, rows in found.items()}
