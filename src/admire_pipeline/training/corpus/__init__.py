"""The corpus: from a list of domains to memory-mapped token shards, once."""

from admire_pipeline.training.corpus.corpus import Corpus, is_built, prepare_corpus
from admire_pipeline.training.corpus.embedded import EMBEDDED
from admire_pipeline.training.corpus.errors import CorpusError
from admire_pipeline.training.corpus.settings import (
    CorpusSettings,
    DomainSettings,
    check_settings,
)
from admire_pipeline.training.corpus.shards import ValidationShard

__all__ = [
    "EMBEDDED",
    "Corpus",
    "CorpusError",
    "CorpusSettings",
    "DomainSettings",
    "ValidationShard",
    "check_settings",
    "is_built",
    "prepare_corpus",
]
