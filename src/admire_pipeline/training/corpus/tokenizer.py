"""Tokenizers: UTF-8 bytes without any file or import, or any tokenizer of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from admire_pipeline.training.corpus.chat import (
    MARKED,
    Chat,
    ends_with_answer,
    marked_chat,
    mask_tokens,
    plain_chat,
    templated_chat,
)
from admire_pipeline.training.corpus.errors import WHO_ASKS, CorpusError, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BYTES = "byt5"
"""Name of the byte-level tokenizer."""


def split_revision(tokenizer: str) -> tuple[str, str | None]:
    """Place of a tokenizer, and the commit or tag that is named after an @; None for a folder."""
    name, _, revision = tokenizer.partition("@")
    return (tokenizer, None) if Path(tokenizer).is_dir() else (name, revision or None)


@dataclass(frozen=True)
class Vocabulary:
    """What a model must know of a tokenizer.

    Attributes:
        size: Number of token ids, special ones included.
        eos_token_id: Stands before every document.
        pad_token_id: The end-of-text token where the tokenizer has none for padding.
    """

    size: int
    eos_token_id: int
    pad_token_id: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest type that holds the ids: uint16 or uint32."""
        return np.dtype("<u2" if self.size <= 65_536 else "<u4")


class Tokenizer(Protocol):
    """Turns documents into token ids and back."""

    vocabulary: Vocabulary

    def encode(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts (UTF-8) one after the other, and the number of ids of each, int64."""
        ...

    def decode(self, tokens: np.ndarray) -> str:
        """Text of token ids, special tokens shown by name."""
        ...

    def encode_chats(
        self, texts: Sequence[bytes], spans: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chats as `encode` has them, and which of their ids are learned from.

        Args:
            texts: As of `render_chat`, UTF-8.
            spans: Of each, first and last + 1 byte of what is learned, `n x 2`, int64.

        Returns:
            Ids, number of ids of each, and the loss mask of all ids, uint8.
        """
        ...

    def render_chat(self, messages: list[dict[str, str]]) -> Chat:
        """A chat as one text, and what is learned from in it."""
        ...


class ByteTokenizer:
    """`transformers.ByT5Tokenizer()` for whole arrays: byte + 3, after pad, eos and unk.

    As with `split_special_tokens=True`: `</s>` in a text is four bytes, never the end of it.
    Source: L. Xue et al., "ByT5: Towards a token-free future with pre-trained byte-to-byte models",
    TACL 2022.
    """

    offset = 3
    specials = ("<pad>", "</s>", "<unk>")
    vocabulary = Vocabulary(size=3 + 256 + 125, eos_token_id=1, pad_token_id=0)

    def encode(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """See `Tokenizer`."""
        data = np.frombuffer(b"".join(texts), dtype=np.uint8)
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        return data.astype(self.vocabulary.dtype) + self.vocabulary.dtype.type(self.offset), lengths

    def decode(self, tokens: np.ndarray) -> str:
        """See `Tokenizer`; bytes that are no UTF-8 (a character cut in two) are left out."""
        return b"".join(map(self._piece, np.asarray(tokens).tolist())).decode("utf-8", "ignore")

    def _piece(self, token: int) -> bytes:
        if token < self.offset:
            return self.specials[token].encode()
        if token < self.offset + 256:
            return bytes([token - self.offset])
        return f"<extra_id_{token - self.offset - 256}>".encode()

    def encode_chats(
        self, texts: Sequence[bytes], spans: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Tokenizer`; every chat ends with the end-of-text token, learned after an answer."""
        ended = [text + b"\0" for text in texts]
        tokens, lengths = self.encode(ended)
        mask = np.zeros(len(tokens), np.uint8)
        stops = np.cumsum(lengths)
        for start, stop, learned in zip(stops - lengths, stops, spans, strict=True):
            for first, last in learned:
                mask[start + first : start + last] = 1
            mask[stop - 1] = ends_with_answer(learned, stop - 1 - start)
        tokens[stops - 1] = self.vocabulary.eos_token_id
        return tokens, lengths, mask

    def render_chat(self, messages: list[dict[str, str]]) -> Chat:
        """See `Tokenizer`."""
        return plain_chat(messages)


def load_pretrained(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer of transformers itself; code of its repository is never run.

    Args:
        name: Folder or name on the Hub.
        revision: Commit or tag on the Hub.

    Raises:
        CorpusError: If it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            name, revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:
        raise CorpusError(
            f"corpus.tokenizer: cannot load {name!r} ({one_line(error)}); allowed: {BYTES}, or "
            "a folder or Hub name that transformers' AutoTokenizer loads (a private or gated "
            f"one needs a token: {WHO_ASKS})"
        ) from error


def count_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """Token ids that a model must take: ids may have gaps, and what counts is the largest."""
    return max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1)


class HuggingFaceTokenizer:
    """A tokenizer of transformers, without the special tokens that it adds to a text by itself.

    Special tokens that stand in a text by name are taken as such, as a chat template needs.

    Args:
        name: Folder or name on the Hub.
        revision: Commit or tag on the Hub.

    Raises:
        CorpusError: If it cannot be loaded or has no end-of-text token.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        tokenizer = load_pretrained(name, revision)
        eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        if eos is None:
            raise CorpusError(
                f"corpus.tokenizer: {name!r} has no end-of-text token; allowed: a tokenizer "
                "with an eos_token"
            )
        self._tokenizer = tokenizer
        # Whole documents are encoded: the model's context length is none of their business.
        tokenizer.model_max_length = int(1e30)
        self.vocabulary = Vocabulary(
            size=count_ids(tokenizer),
            eos_token_id=eos,
            pad_token_id=eos if pad is None else pad,
        )

    def encode(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """See `Tokenizer`."""
        encoded = self._tokenizer(
            [text.decode("utf-8") for text in texts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        ids = chain.from_iterable(encoded)
        return np.fromiter(ids, self.vocabulary.dtype, int(lengths.sum())), lengths

    def encode_chats(
        self, texts: Sequence[bytes], spans: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Tokenizer`; a chat that no template ends is ended by the end-of-text token."""
        encoded = self._tokenizer(
            [text.decode("utf-8") for text in texts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
        )
        end = [] if self._tokenizer.chat_template else [self.vocabulary.eos_token_id]
        ids = [[*tokens, *end] for tokens in encoded["input_ids"]]
        masks = [
            [
                *mask_tokens(np.array(places).reshape(-1, 2), text, learned),
                *(ends_with_answer(learned, len(text)) for _ in end),
            ]
            for places, text, learned in zip(encoded["offset_mapping"], texts, spans, strict=True)
        ]
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        total = int(lengths.sum())
        return (
            np.fromiter(chain.from_iterable(ids), self.vocabulary.dtype, total),
            lengths,
            np.fromiter(chain.from_iterable(masks), np.uint8, total),
        )

    def decode(self, tokens: np.ndarray) -> str:
        """See `Tokenizer`."""
        return str(self._tokenizer.decode(np.asarray(tokens).tolist()))

    def render_chat(self, messages: list[dict[str, str]]) -> Chat:
        """See `Tokenizer`; with the tokenizer's own chat template if it has one."""
        template = self._tokenizer.chat_template
        if template is None:
            return plain_chat(messages)
        if MARKED.search(template):
            return marked_chat(messages, template, self._tokenizer.special_tokens_map)
        special = [str(t) for t in self._tokenizer.added_tokens_decoder.values() if t.special]
        return templated_chat(messages, self._render, special)

    def _render(self, messages: list[dict[str, str]], prompt: bool) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            )
        )


@lru_cache(maxsize=1)
def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of that name; the last one stays loaded.

    Raises:
        CorpusError: If it cannot be loaded.
    """
    if name == BYTES:
        return ByteTokenizer()
    place, revision = split_revision(name)
    return HuggingFaceTokenizer(place, revision)
