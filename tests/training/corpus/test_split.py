from __future__ import annotations

import numpy as np
import pytest

from admire_pipeline.training.corpus import CorpusError, duplicates
from admire_pipeline.training.corpus.split import (
    DROP,
    RECORD,
    TRAIN,
    VALIDATION,
    split_documents,
)

from .texts import documents, settings


def _records(texts: list[str], held_out: int = 0) -> np.ndarray:
    """Records of texts, of which the last `held_out` come from a validation source."""
    rows = []
    for index, text in enumerate(texts):
        data = text.encode()
        flag = index >= len(texts) - held_out
        content = np.zeros(16, np.uint8)
        rows.append((len(data), duplicates.digest(data), content, flag, duplicates.signature(data)))
    return np.array(rows, RECORD)


def _split(texts, held_out=0, domain=None, **other):
    corpus = settings(
        {"a": {"path": "x", **(domain or {})}, "b": {"path": "x"}, "c": {"path": "x"}}, **other
    )
    return split_documents("a", corpus.domains["a"], corpus, _records(texts, held_out))


def test_about_the_asked_share_is_held_out():
    split = _split(documents(200), validation_fraction=0.1)
    assert split.duplicates == split.near_duplicates == split.left_out == 0
    assert (split.side == VALIDATION).sum() in range(17, 21)
    assert (split.side == TRAIN).sum() == 200 - (split.side == VALIDATION).sum()


def test_no_more_than_the_limit_is_held_out():
    texts = documents(200)
    split = _split(texts, max_validation_bytes=1000)
    assert 0 < sum(len(texts[i]) for i in np.flatnonzero(split.side == VALIDATION)) <= 1000


def test_the_order_of_documents_plays_no_part_but_the_seed_does():
    texts = documents(100)
    held = {texts[i] for i in np.flatnonzero(_split(texts).side == VALIDATION)}
    turned = texts[::-1]
    assert {turned[i] for i in np.flatnonzero(_split(turned).side == VALIDATION)} == held
    assert {texts[i] for i in np.flatnonzero(_split(texts, seed=1).side == VALIDATION)} != held


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_are_on_one_side(seed):
    texts = documents(60, words=150)
    pairs = [f"{text} end" for text in texts]
    split = _split(texts + pairs, seed=seed)
    assert (split.side[:60] == split.side[60:]).all()
    assert split.near_duplicates == 120
    assert {TRAIN, VALIDATION} == set(split.side.tolist())


def test_equal_documents_are_dropped_but_the_first():
    texts = documents(30)
    split = _split([*texts, texts[3] + " ", texts[3]])
    assert split.duplicates == 2
    assert (split.side[-2:] == DROP).all()
    assert split.side[3] != DROP


def test_a_large_group_is_not_held_out_where_others_fit():
    base = documents(1, words=150)[0]
    alike = [f"{base} {i}" for i in range(30)]
    split = _split(alike + documents(30, seed=1), validation_fraction=0.1)
    assert (split.side[:30] == TRAIN).all()
    assert (split.side[30:] == VALIDATION).any()


def test_a_source_for_validation_and_what_resembles_it_does_not_train():
    texts = documents(40, words=150)
    theirs = [f"{texts[0]} end", texts[1], *documents(5, seed=9)]
    split = _split(texts + theirs, held_out=7, domain={"validation": "y"})
    assert (split.side[[0, 1]] == DROP).all()
    assert (split.side[2:40] == TRAIN).all()
    assert (split.side[40:] == VALIDATION).all()
    assert (split.duplicates, split.left_out) == (1, 1)


def test_use():
    texts = documents(30)
    assert (_split(texts, domain={"use": "train"}).side == TRAIN).all()
    assert (_split(texts, domain={"use": "validation"}).side == VALIDATION).all()
    some = _split(texts, domain={"use": "validation"}, max_validation_bytes=1000)
    assert 0 < (some.side == VALIDATION).sum() < 30
    assert some.left_out == (some.side == DROP).sum()


def test_one_document_cannot_be_divided():
    with pytest.raises(CorpusError, match=r"corpus\.domains\.a: .*allowed: at least 2"):
        _split(documents(1))
    with pytest.raises(CorpusError, match=r"corpus\.domains\.a: .*allowed: at least 2"):
        _split(documents(1, words=200) + [documents(1, words=200)[0] + " end"])
