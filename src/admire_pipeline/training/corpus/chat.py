"""Chats as text, and which part of it a model learns from: what the assistant says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""A chat template that says by itself what is learned."""

ASSISTANT = "assistant"
"""The role that a model learns."""

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Chat:
    """A chat as one text.

    Attributes:
        text: As the model sees it.
        spans: What is learned, as first and last + 1 character of pieces of it, in order.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    def byte_spans(self) -> np.ndarray:
        """The spans in bytes of the UTF-8 text, `n x 2`, int64."""
        # As documents are written: half of a surrogate pair is one question mark.
        ends = [[len(self.text[:end].encode("utf-8", "replace")) for end in s] for s in self.spans]
        return np.array(ends, np.int64).reshape(-1, 2)


def plain_chat(messages: Messages) -> Chat:
    """A chat as paragraphs `role: content`, for tokenizers without a chat template.

    What the assistant says is learned with the blank line that ends its turn.
    """
    text = ""
    spans = []
    for number, message in enumerate(messages, start=1):
        text += f"{message['role']}: "
        start = len(text)
        text += message["content"] + ("\n\n" if number < len(messages) else "")
        if message["role"] == ASSISTANT:
            spans.append((start, len(text)))
    return Chat(text, tuple(spans))


def marked_chat(messages: Messages, template: str, special_tokens: Mapping[str, Any]) -> Chat:
    """A chat by a template that marks what is learned by `{% generation %}`."""
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered: Any = render_jinja_template(
        conversations=[messages],
        chat_template=template,
        return_assistant_tokens_mask=True,
        **special_tokens,
    )
    texts, marks = rendered
    return Chat(texts[0], tuple((start, stop) for start, stop in marks[0]))


def templated_chat(
    messages: Messages, render: Callable[[Messages, bool], str], special_tokens: Sequence[str]
) -> Chat:
    """A chat by any other template: an answer is what comes after the prompt to give it.

    The turn's end is learned with it, that is all up to the last special token; white space after
    that belongs to the template. Each answer takes two renderings of what is before it: 5 ms for a
    chat of 20 long messages.

    Args:
        messages: The chat.
        render: Text of the first messages, ending with the assistant's prompt if so asked.
        special_tokens: Their names.

    Raises:
        ValueError: If the template renders the beginning of a chat otherwise than the whole.
    """
    text = render(messages, False)
    prompt = render(messages, True).removeprefix(text)
    spans = []
    for number, message in enumerate(messages):
        if message["role"] != ASSISTANT:
            continue
        through = render(messages[: number + 1], False)
        if number:
            start = len(render(messages[:number], True))
        else:
            # Templates may refuse a chat without any message.
            start = through.find(prompt) + len(prompt)
        if not text.startswith(through) or not through[:start].endswith(prompt):
            raise ValueError(
                "it renders the beginning of a chat otherwise than the whole; a template with "
                "{% generation %} marks says what is learned"
            )
        stop = len(through.rstrip())
        if not through[:stop].endswith(tuple(special_tokens)):
            stop = len(through)
        spans.append((start, stop))
    return Chat(text, tuple(spans))


def turn_end(render: Callable[[Messages], Chat]) -> str:
    """What ends an assistant's turn, as far as it is learned; empty where nothing visible does.

    White space is no end: an answer may hold it.

    Args:
        render: A chat as text, with what is learned of it.

    Raises:
        ValueError: See `templated_chat`.
    """
    question, answer = "question", "the answer"
    chat = render([{"role": "user", "content": question}, {"role": ASSISTANT, "content": answer}])
    learned = "".join(chat.text[start:stop] for start, stop in chat.spans)
    return learned.rpartition(answer)[2].strip()


def mask_tokens(places: np.ndarray, text: bytes, spans: np.ndarray) -> np.ndarray:
    """Which tokens of a text are learned: those that have a part in a span.

    Args:
        places: First and last + 1 character of each token, `n x 2`.
        text: UTF-8.
        spans: First and last + 1 byte of what is learned, `m x 2`.

    Returns:
        Loss mask, `n`, uint8.
    """
    # Bytes 10xxxxxx continue a character.
    begins = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
    characters = np.append(0, np.cumsum(begins))
    mask = np.zeros(len(places), np.uint8)
    for start, stop in characters[spans]:
        mask[(places[:, 0] < stop) & (places[:, 1] > start)] = 1
    return mask


def ends_with_answer(spans: np.ndarray, size: int) -> bool:
    """Whether what is learned of a text of `size` bytes reaches its end: so its end is, too."""
    return bool(len(spans)) and int(spans[-1, 1]) == size
