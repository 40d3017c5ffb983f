"""Tiny corpora for the tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from admire_pipeline.training.corpus import Corpus, CorpusSettings

WORDS = [f"{a}{b}{c}" for a in "bdkmprt" for b in "aeiou" for c in "lnrsx"]


def documents(count: int, seed: int = 0, words: int = 60) -> list[str]:
    """Documents of random words, no two alike."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, words)) for _ in range(count)]


def write_rows(path: Path, texts: list[str], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts), "utf-8")
    return path


def settings(domains: dict[str, dict[str, object]], **other: object) -> CorpusSettings:
    """Settings with small, quick values."""
    values = {"workers": 1, "validation_fraction": 0.2, "passage_bytes": 64, **other}
    return CorpusSettings.model_validate({"domains": domains, **values})


def train_texts(corpus: Corpus, domain: str) -> list[str]:
    """The documents that a domain trains on."""
    tokens, offsets = corpus.train_tokens(domain), corpus.train_documents(domain)
    assert (tokens[offsets[:-1]] == corpus.eos_token_id).all()
    return [
        corpus.decode(tokens[start + 1 : stop])
        for start, stop in zip(offsets[:-1], offsets[1:], strict=True)
    ]


def passages(corpus: Corpus, domain: str) -> list[str]:
    """The validation passages of a domain."""
    shard = corpus.validation(domain)
    pairs = zip(shard.offsets[:-1], shard.offsets[1:], strict=True)
    return [corpus.decode(shard.tokens[start:stop]) for start, stop in pairs]
