"""Settings of a corpus: its domains, its tokenizer and what is held out for validation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from admire_pipeline.errors import suggest
from admire_pipeline.names import DOMAIN_NAMES, is_domain_name
from admire_pipeline.training.corpus.embedded import EMBEDDED
from admire_pipeline.validation import validate_settings


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DomainSettings(_Settings):
    """One domain: where its documents are (embedded, path or huggingface), how to read them."""

    embedded: str | None = None
    """Name of a domain made of text that every installation holds (see `corpus.embedded`)."""
    path: str | list[str] | None = None
    """File or glob, or several: .jsonl .ndjson .json .parquet, anything else is UTF-8 text;
    .gz .bz2 .xz .zst are decompressed while reading."""
    huggingface: str | None = None
    """Dataset on the Hugging Face Hub, or a local dataset folder."""
    config: str | None = None
    """Configuration of the Hugging Face dataset; null: its default."""
    split: str = "train"
    """Split of the Hugging Face dataset."""
    revision: str | None = None
    """Commit or tag of the Hugging Face dataset. Without one, changes on the Hub go unnoticed once
    the domain is built."""
    files: str | list[str] | None = Field(default=None, min_length=1)
    """File or globs within the Hugging Face dataset; only these are read. null: all."""
    where: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Only rows whose fields have these values, of JSON, Parquet or a Hugging Face dataset."""
    max_bytes: int | None = Field(default=None, gt=0)
    """Read only so much of the source, in UTF-8 bytes of its documents, from its beginning (and as
    much of `validation`); of a Hub dataset, no more is downloaded. null: all of it, and 2,000,000
    of an embedded domain."""
    text: str = "text"
    """Field of a JSON or Parquet row that holds the document."""
    messages: str | None = None
    """Field that holds a chat instead, a list of {role, content}; it is rendered with the
    tokenizer's chat template or, if there is none, as `role: content` paragraphs. What the
    assistant says is learned and measured, nothing else."""
    document: Literal["file", "line", "paragraph"] = "file"
    """What is one document in a text file (a paragraph ends at a blank line)."""
    use: Literal["both", "train", "validation"] = "both"
    """`train`: nothing is held out; `validation`: evaluated, never trained on."""
    validation: str | list[str] | None = None
    """File or globs with the validation documents, read like `path`, or like `files`; all of these
    then trains, except near-duplicates of validation documents, which are dropped."""

    @model_validator(mode="after")
    def _one_source(self) -> DomainSettings:
        for key in ("path", "huggingface", "validation"):
            if getattr(self, key) in ("", []):
                raise ValueError(f"{key}={getattr(self, key)!r}; allowed: a name, or leave it out")
        given = [
            key for key in ("embedded", "path", "huggingface") if getattr(self, key) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'no source'} given; "
                "allowed: exactly one of embedded, path, huggingface"
            )
        if self.embedded is not None and self.embedded not in EMBEDDED:
            raise ValueError(
                f"embedded={self.embedded!r} is unknown; {suggest(self.embedded, EMBEDDED)}"
            )
        if self.files is not None and self.huggingface is None:
            raise ValueError("files is allowed only together with huggingface")
        if self.where and self.embedded is not None:
            raise ValueError("where is allowed only together with path or huggingface")
        if self.validation is not None and (
            (self.path is None and self.files is None) or self.use != "both"
        ):
            raise ValueError(
                "validation is allowed only together with path, or with huggingface and files, and "
                "use: both"
            )
        return self


class CorpusSettings(_Settings):
    """Everything that decides the tokens of a corpus."""

    domains: dict[str, DomainSettings]
    """The domains by name; at least two of them train. A mixture has its weights in this order."""
    tokenizer: str = Field(default="byt5", min_length=1)
    """`byt5`: UTF-8 bytes, needs no files; else a name or folder for transformers' AutoTokenizer
    (code of the repository is never run); of the Hub with its commit or tag: `name@commit`."""
    validation_fraction: float = Field(default=0.05, gt=0, lt=1)
    """Share of a domain's text held out for validation."""
    max_validation_bytes: int = Field(default=10_000_000, gt=0)
    """At most this much text is held out per domain, in UTF-8 bytes."""
    passage_bytes: int = Field(default=4096, ge=16)
    """Validation documents are cut into passages of at most this many UTF-8 bytes."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that read and tokenise; null: one per core. The result does not depend on it."""
    seed: int = Field(default=0, ge=0)
    """Decides which documents are held out, and the order of validation passages."""

    @field_validator("domains")
    @classmethod
    def _names(cls, domains: dict[str, DomainSettings]) -> dict[str, DomainSettings]:
        seen: dict[str, str] = {}
        for name in domains:
            if not is_domain_name(name):
                raise ValueError(f"name {name!r} is no MLflow key; allowed: {DOMAIN_NAMES}")
            if name.casefold() in seen:
                raise ValueError(
                    f"names {seen[name.casefold()]!r} and {name!r} differ only in case; "
                    "allowed: unique names"
                )
            seen[name.casefold()] = name
        trained = [name for name, domain in domains.items() if domain.use != "validation"]
        if len(trained) < 2:
            raise ValueError(
                f"{len(trained)} of {len(domains)} domains train; allowed: 2 or more domains "
                "whose use is both or train"
            )
        return domains

    @model_validator(mode="after")
    def _something_to_evaluate(self) -> CorpusSettings:
        if all(domain.use == "train" for domain in self.domains.values()):
            raise ValueError(
                "domains: use is train in all; allowed: at least one both or validation"
            )
        return self

    @property
    def trained(self) -> tuple[str, ...]:
        """Domains to train on, in the order of the settings."""
        return tuple(name for name, domain in self.domains.items() if domain.use != "validation")

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Domains to evaluate on, in the order of the settings."""
        return tuple(name for name, domain in self.domains.items() if domain.use != "train")

    @property
    def processes(self) -> int:
        """Processes to use."""
        if self.workers is not None:
            return self.workers
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_settings(config: Mapping[str, Any]) -> CorpusSettings:
    """Settings from a plain mapping, as read from a config file.

    Raises:
        UserError: One line about the first thing that is wrong, with the nearest valid key.
    """
    return validate_settings(CorpusSettings, config, "corpus")
