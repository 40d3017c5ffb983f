"""Mixing: from weights and a budget to the exact data that a model is trained on.

Nothing is copied: a mixture is an index over the corpus' memory-mapped shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import Draw, allocate, draw_sequences
from admire_pipeline.training.settings import Unit

if TYPE_CHECKING:
    from admire_pipeline.training.corpus import Corpus


@dataclass(frozen=True)
class Pieces:
    """What may be drawn of a domain: sequences of one length, or examples.

    Attributes:
        tokens: Of the domain, memory-mapped.
        loss_mask: Which of them are learned from; None: all.
        begins: First token of each piece, `n`, int64.
        ends: Last token + 1 of each piece, `n`, int64.
    """

    tokens: np.ndarray
    loss_mask: np.ndarray | None
    begins: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.begins)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of a piece, int64, and which of them are learned from, bool."""
        piece = slice(int(self.begins[index]), int(self.ends[index]))
        tokens = np.asarray(self.tokens[piece], np.int64)
        if self.loss_mask is None:
            return tokens, np.ones(len(tokens), bool)
        return tokens, np.asarray(self.loss_mask[piece], bool)


def find_pieces(corpus: Corpus, domain: str, unit: Unit, length: int) -> Pieces:
    """The pieces of a domain; a sequence has `length` tokens, an example at most that."""
    if unit == "tokens":
        begins = corpus.sequences(domain, length) * length
        ends = begins + length
    else:
        usable = corpus.examples(domain, length)
        offsets = corpus.train_documents(domain)
        begins = offsets[usable]
        ends = np.minimum(offsets[usable + 1], begins + length)
    return Pieces(corpus.train_tokens(domain), corpus.train_mask(domain), begins, ends)


@dataclass(frozen=True)
class DomainPlan:
    """What one domain contributes.

    Attributes:
        domain: Its name.
        weight: Asked share of the budget.
        tokens: Planned training tokens.
        draws: Planned training sequences, or examples.
        available: Sequences, or examples, that the domain has.
        epochs: How often the domain is passed through; above 1, text is repeated.
    """

    domain: str
    weight: float
    tokens: int
    draws: int
    available: int
    epochs: float


@dataclass(frozen=True)
class MixingPlan:
    """An exact, reproducible plan of the training data of one trial.

    Attributes:
        seed: Orders the data; same plan and corpus, same tokens, byte for byte.
        unit: What weights are shares of: `tokens` (in sequences) or `examples`.
        sequence_length: Tokens in a sequence.
        tokens: Training tokens in all, the sum over domains.
        corpus: Hash of the corpus the plan was made for.
        domains: One entry per domain, in the corpus' order.
    """

    seed: int
    unit: Unit
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

    def draw(self) -> Draw:
        """Which piece of which domain comes when."""
        return draw_sequences(
            np.array([entry.draws for entry in self.domains]),
            np.array([entry.available for entry in self.domains]),
            self.seed,
        )


def plan_mixture(  # noqa: PLR0913, PLR0917
    mixture: Mapping[str, float],
    draws: int,
    sequence_length: int,
    corpus: Corpus,
    seed: int,
    unit: Unit = "tokens",
) -> MixingPlan:
    """Allot training sequences, or examples, to the domains by largest remainder.

    Args:
        mixture: Share of the budget per domain, sum 1.
        draws: Training sequences, or examples, in all.
        sequence_length: Tokens in a sequence, and of an example at most.
        corpus: Where they come from.
        seed: Of the order.
        unit: What is allotted.

    Raises:
        UserError: If the mixture is over other domains than the corpus, or a domain with weight has
            nothing to draw.
    """
    if set(mixture) != set(corpus.domains):
        raise UserError(
            f"corpus.domains: {sorted(corpus.domains)} are configured, the trial mixes "
            f"{sorted(mixture)}; allowed: the same, or a new campaign.name"
        )
    weights = np.array([mixture[domain] for domain in corpus.domains])
    counts = allocate(weights, draws)
    pieces = [find_pieces(corpus, domain, unit, sequence_length) for domain in corpus.domains]
    for domain, count, there in zip(corpus.domains, counts, pieces, strict=True):
        if count and not len(there):
            what = "sequence of" if unit == "tokens" else "example with an answer within"
            raise UserError(
                f"corpus.domains.{domain}: has no {what} {sequence_length} tokens to train "
                "on; allowed: more text, or another sequence_length"
            )
    draw = draw_sequences(counts, np.array([len(there) for there in pieces]), seed)
    plans = []
    for number, (domain, there) in enumerate(zip(corpus.domains, pieces, strict=True)):
        drawn = draw.sequence[draw.domain == number]
        plans.append(
            DomainPlan(
                domain=domain,
                weight=float(weights[number]),
                tokens=int((there.ends[drawn] - there.begins[drawn]).sum()),
                draws=len(drawn),
                available=len(there),
                epochs=float(draw.epochs[number]),
            )
        )
    return MixingPlan(
        seed=seed,
        unit=unit,
        sequence_length=sequence_length,
        tokens=sum(plan.tokens for plan in plans),
        corpus=corpus.manifest["hash"],
        domains=tuple(plans),
    )
