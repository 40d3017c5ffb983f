"""Mixing: from weights and a token budget to the exact sequences a model is trained on.

Nothing is copied: a mixture is an index over the corpus' memory-mapped shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import Draw, allocate, draw_sequences

if TYPE_CHECKING:
    from admire_pipeline.training.corpus import Corpus


@dataclass(frozen=True)
class DomainPlan:
    """What one domain contributes.

    Attributes:
        domain: Its name.
        weight: Asked share of the training tokens.
        tokens: Planned training tokens, whole sequences.
        sequences: Planned training sequences.
        available: Sequences the domain has.
        epochs: How often the domain is passed through; above 1, text is repeated.
    """

    domain: str
    weight: float
    tokens: int
    sequences: int
    available: int
    epochs: float


@dataclass(frozen=True)
class MixingPlan:
    """An exact, reproducible plan of the training data of one trial.

    Attributes:
        seed: Orders the sequences; same plan and corpus, same tokens, byte for byte.
        sequence_length: Tokens in a sequence.
        tokens: Training tokens in all, the sum over domains.
        corpus: Hash of the corpus the plan was made for.
        domains: One entry per domain, in the corpus' order.
    """

    seed: int
    sequence_length: int
    tokens: int
    corpus: str
    domains: tuple[DomainPlan, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plan: Mapping[str, Any]) -> MixingPlan:
        """The plan written by `to_dict`."""
        domains = tuple(DomainPlan(**entry) for entry in plan["domains"])
        return cls(**{**plan, "domains": domains})


def plan_mixture(
    mixture: Mapping[str, float], sequences: int, sequence_length: int, corpus: Corpus, seed: int
) -> MixingPlan:
    """Allot `sequences` training sequences to the domains by largest remainder.

    Args:
        mixture: Share of the training tokens per domain, sum 1.
        sequences: Training sequences in all.
        sequence_length: Tokens in a sequence.
        corpus: Where the sequences come from.
        seed: Of the order.

    Raises:
        UserError: If the mixture is over other domains than the corpus, or a domain with weight has
            not a single whole sequence.
    """
    if set(mixture) != set(corpus.domains):
        raise UserError(
            f"corpus.domains: {sorted(corpus.domains)} are configured, the trial mixes "
            f"{sorted(mixture)}; allowed: the same, or a new campaign.name"
        )
    weights = np.array([mixture[domain] for domain in corpus.domains])
    counts = allocate(weights, sequences)
    available = [len(corpus.sequences(domain, sequence_length)) for domain in corpus.domains]
    for domain, count, there in zip(corpus.domains, counts, available, strict=True):
        if count and not there:
            raise UserError(
                f"corpus.domains.{domain}: has no sequence of {sequence_length} tokens to train "
                "on; allowed: more text, or a shorter sequence_length"
            )
    plans = tuple(
        DomainPlan(
            domain=domain,
            weight=float(weight),
            tokens=int(count) * sequence_length,
            sequences=int(count),
            available=int(there),
            epochs=float(count / there) if there else 0.0,
        )
        for domain, weight, count, there in zip(
            corpus.domains, weights, counts, available, strict=True
        )
    )
    return MixingPlan(
        seed=seed,
        sequence_length=sequence_length,
        tokens=sequences * sequence_length,
        corpus=corpus.manifest["hash"],
        domains=plans,
    )


class MixtureDataset:
    """The planned sequences, in training order, read from the shards when asked for.

    A map-style torch dataset: item `i` depends on the plan alone, so the order of the data is the
    same for any number of loader workers.

    Args:
        plan: What to train on.
        corpus: The shards.

    Raises:
        UserError: If the corpus is not the one that the plan was made for.
    """

    def __init__(self, plan: MixingPlan, corpus: Corpus) -> None:
        if plan.corpus != corpus.manifest["hash"]:
            raise UserError(
                f"corpus: its text has changed (hash {corpus.manifest['hash'][:12]}) since the "
                f"trial was planned ({plan.corpus[:12]}); allowed: the same text, or a new "
                "campaign.name"
            )
        self.plan = plan
        self._length = plan.sequence_length
        self._shards = [corpus.train_tokens(entry.domain) for entry in plan.domains]
        self._usable = [corpus.sequences(entry.domain, self._length) for entry in plan.domains]
        self.draw: Draw = draw_sequences(
            np.array([entry.sequences for entry in plan.domains]),
            np.array([entry.available for entry in plan.domains]),
            plan.seed,
        )

    def __len__(self) -> int:
        return len(self.draw.domain)

    def tokens(self, index: int) -> np.ndarray:
        """Tokens of one sequence, `sequence_length`, int64."""
        domain = self.draw.domain[index]
        start = int(self._usable[domain][self.draw.sequence[index]]) * self._length
        return np.asarray(self._shards[domain][start : start + self._length], dtype=np.int64)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A batch, `len(indices) x sequence_length`; the model itself shifts the labels."""
        import torch

        batch = torch.from_numpy(np.stack([self.tokens(index) for index in indices]))
        return {"input_ids": batch, "labels": batch}


def sample_texts(plan: MixingPlan, corpus: Corpus, samples: int, characters: int) -> str:
    """The beginning of some training sequences of each domain, for a person to read.

    Args:
        plan: What is trained on.
        corpus: The shards.
        samples: Sequences shown per domain.
        characters: Length to which each is cut.
    """
    dataset = MixtureDataset(plan, corpus)
    parts = []
    for number, entry in enumerate(plan.domains):
        parts.append(
            f"=== {entry.domain}: {entry.tokens} tokens, {entry.epochs:.2f} epochs, "
            f"weight {entry.weight:.4f}\n"
        )
        for index in np.flatnonzero(dataset.draw.domain == number)[:samples]:
            parts.append(
                f"--- sequence {index}\n{corpus.decode(dataset.tokens(index))[:characters]}\n"
            )
    return "\n".join(parts)
