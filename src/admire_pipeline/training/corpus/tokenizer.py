"""Tokenizers: UTF-8 bytes without any file or import, or any tokenizer of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import numpy as np

from admire_pipeline.training.corpus.errors import WHO_ASKS, CorpusError, one_line

BYTES = "byt5"
"""Name of the byte-level tokenizer."""


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

    def render_chat(self, messages: list[dict[str, str]]) -> str:
        """A chat as one text."""
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

    def render_chat(self, messages: list[dict[str, str]]) -> str:
        """See `Tokenizer`."""
        return plain_chat(messages)


class HuggingFaceTokenizer:
    """A tokenizer of transformers, without the special tokens that it adds to a text by itself.

    Special tokens that stand in a text by name are taken as such, as a chat template needs.

    Args:
        name: Folder or name on the Hub.
        revision: Commit or tag on the Hub.

    Raises:
        CorpusError: If it cannot be loaded or has no end-of-text token.
    """

    def __init__(self, name: str, revision: str = "main") -> None:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=False
            )
        except Exception as error:
            raise CorpusError(
                f"corpus.tokenizer: cannot load {name!r} ({one_line(error)}); allowed: {BYTES}, or "
                "a folder or Hub name that transformers' AutoTokenizer loads (a private or gated "
                f"one needs a token: {WHO_ASKS})"
            ) from error
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
            # Ids may have gaps: what counts is the largest.
            size=max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1),
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

    def decode(self, tokens: np.ndarray) -> str:
        """See `Tokenizer`."""
        return str(self._tokenizer.decode(np.asarray(tokens).tolist()))

    def render_chat(self, messages: list[dict[str, str]]) -> str:
        """See `Tokenizer`; with the tokenizer's own chat template if it has one."""
        if self._tokenizer.chat_template is None:
            return plain_chat(messages)
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False))


def plain_chat(messages: list[dict[str, str]]) -> str:
    """A chat as paragraphs of the form `role: content`."""
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


@lru_cache(maxsize=1)
def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of that name; the last one stays loaded.

    Raises:
        CorpusError: If it cannot be loaded.
    """
    if name == BYTES:
        return ByteTokenizer()
    return HuggingFaceTokenizer(name)
