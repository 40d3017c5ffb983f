"""The planned training data as a torch dataset, read from the shards when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import pack
from admire_pipeline.training.mixing import MixingPlan, find_pieces

if TYPE_CHECKING:
    from admire_pipeline.training.corpus import Corpus

IGNORED = -100
"""Label of a token that is not learned (that of torch's cross-entropy)."""


class MixtureDataset:
    """The training sequences of a plan, in training order.

    A map-style torch dataset: item `i` depends on the plan alone, so the order of the data is the
    same for any number of loader workers. Examples are packed: several share a sequence, and none
    sees another, as position ids that begin anew at each tell transformers' attention.

    Args:
        plan: What to train on.
        corpus: The shards.
        flat: Give a batch as one row, as flash attention takes packed examples.

    Raises:
        UserError: If the corpus is not the one that the plan was made for.
    """

    def __init__(self, plan: MixingPlan, corpus: Corpus, flat: bool = False) -> None:
        if plan.corpus != corpus.manifest["hash"]:
            raise UserError(
                f"corpus: its text has changed (hash {corpus.manifest['hash'][:12]}) since the "
                f"trial was planned ({plan.corpus[:12]}); allowed: the same text, or a new "
                "campaign.name"
            )
        self.plan = plan
        self._corpus = corpus
        self._flat = flat
        self._padding = corpus.pad_token_id
        self._pieces = [
            find_pieces(corpus, entry.domain, plan.unit, plan.sequence_length)
            for entry in plan.domains
        ]
        self.draw = plan.draw()

    @cached_property
    def _packs(self) -> list[np.ndarray] | None:
        """The drawn examples of each sequence; None where sequences themselves are drawn."""
        if self.plan.unit == "tokens":
            return None
        return pack(self._lengths(), self.plan.sequence_length, self.plan.seed)

    def _lengths(self) -> np.ndarray:
        """Tokens of each drawn example, `n`, int64."""
        lengths = np.zeros(len(self.draw.domain), np.int64)
        for number, pieces in enumerate(self._pieces):
            here = self.draw.domain == number
            drawn = self.draw.sequence[here]
            lengths[here] = pieces.ends[drawn] - pieces.begins[drawn]
        return lengths

    def check(self) -> None:
        """Check that the shards still hold what was built.

        Raises:
            UserError: If they do not.
        """
        self._corpus.check()

    def __len__(self) -> int:
        return len(self.draw.domain) if self._packs is None else len(self._packs)

    def piece(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of one drawn sequence or example, int64, and which of them are learned, bool."""
        return self._pieces[self.draw.domain[index]].read(int(self.draw.sequence[index]))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A batch, `len(indices) x sequence_length`; the model itself shifts the labels."""
        import torch

        rows = [self._row(index) for index in indices]
        batch = {key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in rows[0]}
        return {key: rows.reshape(1, -1) for key, rows in batch.items()} if self._flat else batch

    def _row(self, index: int) -> dict[str, np.ndarray]:
        return self._sequence(index) if self._packs is None else self._pack(self._packs[index])

    def _sequence(self, index: int) -> dict[str, np.ndarray]:
        tokens, learned = self.piece(index)
        return {"input_ids": tokens, "labels": np.where(learned, tokens, IGNORED)}

    def _pack(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        length = self.plan.sequence_length
        tokens = np.full(length, self._padding, np.int64)
        labels = np.full(length, IGNORED, np.int64)
        # The padding at the end is an example of its own: nothing else looks at it.
        positions = np.arange(length)
        begin = 0
        for example in examples.tolist():
            ids, learned = self.piece(example)
            end = begin + len(ids)
            tokens[begin:end] = ids
            labels[begin:end] = np.where(learned, ids, IGNORED)
            labels[begin] = IGNORED  # or it would be predicted from the example before
            positions[begin:] = np.arange(length - begin)
            begin = end
        positions[begin:] = np.arange(length - begin)
        return {"input_ids": tokens, "labels": labels, "position_ids": positions}


def sample_texts(plan: MixingPlan, corpus: Corpus, samples: int, characters: int) -> str:
    """The beginning of some training sequences or examples of each domain, for a person to read.

    Args:
        plan: What is trained on.
        corpus: The shards.
        samples: How many are shown per domain.
        characters: Length to which each is cut.
    """
    dataset = MixtureDataset(plan, corpus)
    what = "sequence" if plan.unit == "tokens" else "example"
    parts = []
    for number, entry in enumerate(plan.domains):
        parts.append(
            f"=== {entry.domain}: {entry.tokens} tokens, {entry.epochs:.2f} epochs, "
            f"weight {entry.weight:.4f}\n"
        )
        for index in np.flatnonzero(dataset.draw.domain == number)[:samples]:
            tokens, _ = dataset.piece(index)
            parts.append(f"--- {what} {index}\n{corpus.decode(tokens)[:characters]}\n")
    return "\n".join(parts)
