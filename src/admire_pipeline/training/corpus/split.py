"""Which documents train, which are held out for validation, and which are dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from admire_pipeline.training.corpus import duplicates
from admire_pipeline.training.corpus.errors import CorpusError
from admire_pipeline.training.corpus.settings import CorpusSettings, DomainSettings

RECORD = np.dtype(
    [
        ("bytes", "<i8"),
        ("digest", "<u8"),
        ("content", "u1", 16),
        ("held_out", "?"),
        ("signature", "<u4", duplicates.PERMUTATIONS),
    ]
)
"""What is known of a document when documents are divided: its length in UTF-8 bytes, a hash that
white space does not change, a hash of its content, whether it comes from a source of validation
documents, and its MinHash signature."""

DROP, TRAIN, VALIDATION = range(3)


@dataclass(frozen=True)
class Split:
    """The side of every document.

    Attributes:
        side: `DROP`, `TRAIN` or `VALIDATION` per document, `n`, int8.
        duplicates: Documents dropped because an earlier one differs in white space at most.
        near_duplicates: Documents kept that resemble another one.
        left_out: Documents dropped because they resemble validation documents of another source,
            or are beyond the limit of validation text.
    """

    side: np.ndarray
    duplicates: int
    near_duplicates: int
    left_out: int


def split_documents(
    name: str, domain: DomainSettings, settings: CorpusSettings, records: np.ndarray
) -> Split:
    """Divides the documents of a domain, near-duplicates always together.

    Groups of near-duplicates are held out in an order given by a hash of their text and the seed,
    each if it still fits what is to be held out; so the order of the documents plays no part.

    Args:
        name: Name of the domain.
        domain: Its settings.
        settings: How much is held out.
        records: One per document, `n`, of type `RECORD`.

    Raises:
        CorpusError: If nothing is left to train on or to evaluate.
    """
    digest, held_out = records["digest"], records["held_out"]
    # Of equal documents the first is kept, one from a source of validation documents before others.
    order = np.argsort(~held_out, kind="stable")
    kept = np.sort(order[np.unique(digest[order], return_index=True)[1]])
    groups = duplicates.group(records["signature"], kept)
    members = np.bincount(groups)
    chosen = _choose(name, domain, settings, records, kept, groups)
    side = np.full(len(records), DROP, np.int8)
    if domain.use == "validation":
        side[kept[chosen[groups]]] = VALIDATION
    elif domain.validation is not None:
        theirs = held_out[kept]
        tainted = np.bincount(groups, weights=theirs)[groups] > 0
        side[kept[theirs & chosen[groups]]] = VALIDATION
        side[kept[~tainted]] = TRAIN
    else:
        side[kept] = np.where(chosen[groups], VALIDATION, TRAIN)
    if domain.use != "validation" and not (side == TRAIN).any():
        raise CorpusError(
            f"corpus.domains.{name}: has no training text besides what is held out (documents that "
            f"do not resemble each other: {len(members)}); allowed: at least 2"
        )
    return Split(
        side=side,
        duplicates=len(records) - len(kept),
        near_duplicates=int((members[groups] > 1).sum()),
        left_out=int((side[kept] == DROP).sum()),
    )


def _choose(
    name: str,
    domain: DomainSettings,
    settings: CorpusSettings,
    records: np.ndarray,
    kept: np.ndarray,
    groups: np.ndarray,
) -> np.ndarray:
    """Whether each group is held out, bool."""
    count = int(groups.max(initial=-1)) + 1
    chosen = np.zeros(count, bool)
    if domain.use == "train":
        return chosen
    size = records["bytes"][kept]
    target = float(settings.max_validation_bytes)
    if domain.validation is not None:
        size = size * records["held_out"][kept]
        if not size.any():
            raise CorpusError(
                f"corpus.domains.{name}.validation: has no text; allowed: at least one document"
            )
    elif domain.use == "both":
        target = min(target, settings.validation_fraction * float(size.sum()))
    sizes = np.bincount(groups, weights=size, minlength=count)
    keys = np.full(count, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(keys, groups, records["digest"][kept])
    salt = np.random.SeedSequence(settings.seed).generate_state(1, np.uint64)
    order = np.argsort(duplicates.mix(keys ^ salt), kind="stable")
    order = order[sizes[order] > 0]
    left = target
    for index in order:
        if sizes[index] <= left:
            chosen[index] = True
            left -= sizes[index]
        if left < 0.01 * target:
            break
    if not chosen.any() and len(order):
        chosen[order[np.argmin(sizes[order])]] = True
    return chosen
