from __future__ import annotations

import json
import random

import numpy as np
import pytest

from admire_pipeline.training.corpus import CorpusError, prepare_corpus
from admire_pipeline.training.corpus.chat import plain_chat, templated_chat
from admire_pipeline.training.corpus.tokenizer import ByteTokenizer, HuggingFaceTokenizer

from .texts import settings

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

# What SmolLM2's (ChatML) template does, with marks of what the assistant says.
MARKED = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


CHATS = [
    chat((USER, "hi"), (ASSISTANT, "yes")),
    chat((SYSTEM, "be brief"), (USER, "a\n\nb"), (ASSISTANT, "Ünï – 漢字 🙂"), (USER, "again")),
    chat((USER, "x"), (ASSISTANT, "\n starts and ends blank \n"), (USER, "y"), (ASSISTANT, "z")),
    chat((USER, "quote <|im_end|> and <|im_start|>assistant\n"), (ASSISTANT, "<|im_end|>?")),
    chat((ASSISTANT, "I begin"), (USER, "why"), (ASSISTANT, "def f():\n\treturn '</s>'\n")),
    chat((USER, "call me assistant"), (ASSISTANT, "")),
]


def encode(tokenizer, messages):
    rendered = tokenizer.render_chat(messages)
    text = rendered.text.encode()
    return tokenizer.encode_chats([text], [rendered.byte_spans()])


@pytest.mark.parametrize("messages", CHATS)
def test_mask_is_the_templates_own_token_by_token(smollm2_tokenizer, messages) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(smollm2_tokenizer)
    asked = {"return_dict": True, "return_assistant_tokens_mask": True}
    expected = theirs.apply_chat_template(messages, chat_template=MARKED, **asked)
    tokens, lengths, mask = encode(HuggingFaceTokenizer(str(smollm2_tokenizer)), messages)
    assert tokens.tolist() == theirs.apply_chat_template(messages)["input_ids"]
    assert tokens.tolist() == expected["input_ids"]
    assert mask.tolist() == expected["assistant_masks"]
    assert lengths.tolist() == [len(tokens)]
    answers = [message["content"] for message in messages if message["role"] == ASSISTANT]
    learned = theirs.decode(tokens[mask == 1])
    # A blank at the beginning of an answer may share its token with the end of the prompt.
    assert [turn.strip() for turn in learned.split("<|im_end|>")] == [
        turn.strip() for turn in "".join(f"{a}<|im_end|>" for a in answers).split("<|im_end|>")
    ]


@pytest.mark.parametrize("messages", CHATS)
def test_marks_of_a_template_are_taken(smollm2_tokenizer, tmp_path, messages) -> None:
    from transformers import AutoTokenizer

    marked = AutoTokenizer.from_pretrained(smollm2_tokenizer)
    marked.chat_template = MARKED
    marked.save_pretrained(tmp_path)
    ours = encode(HuggingFaceTokenizer(str(smollm2_tokenizer)), messages)
    for found, expected in zip(
        encode(HuggingFaceTokenizer(str(tmp_path)), messages), ours, strict=True
    ):  # noqa: E501
        assert found.tolist() == expected.tolist()


def test_many_chats_at_once_are_each_as_alone(smollm2_tokenizer) -> None:
    tokenizer = HuggingFaceTokenizer(str(smollm2_tokenizer))
    rendered = [tokenizer.render_chat(messages) for messages in CHATS]
    tokens, lengths, mask = tokenizer.encode_chats(
        [r.text.encode() for r in rendered], [r.byte_spans() for r in rendered]
    )
    alone = [encode(tokenizer, messages) for messages in CHATS]
    assert tokens.tolist() == [t for one in alone for t in one[0].tolist()]
    assert mask.tolist() == [m for one in alone for m in one[2].tolist()]
    assert lengths.tolist() == [int(one[1][0]) for one in alone]


def test_bytes_without_a_template() -> None:
    rendered = plain_chat(chat((USER, "hé"), (ASSISTANT, "já"), (USER, "x"), (ASSISTANT, "y")))
    assert rendered.text == "user: hé\n\nassistant: já\n\nuser: x\n\nassistant: y"
    tokens, lengths, mask = encode(ByteTokenizer(), CHATS[0])
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokens) == "user: hi\n\nassistant: yes</s>"
    assert tokenizer.decode(tokens[mask == 1]) == "yes</s>"
    assert lengths.tolist() == [len(tokens)]
    pieces = [rendered.text[start:stop] for start, stop in rendered.spans]
    assert pieces == ["já\n\n", "y"]
    data = rendered.text.encode()
    assert [data[b:e].decode() for b, e in rendered.byte_spans()] == pieces


def test_a_template_that_drops_earlier_answers_is_refused() -> None:
    def last_only(messages, prompt):
        return messages[-1]["content"] + ("|assistant|" if prompt else "")

    with pytest.raises(ValueError, match="renders the beginning of a chat otherwise"):
        templated_chat(
            chat((USER, "a"), (ASSISTANT, "b"), (USER, "c"), (ASSISTANT, "d")), last_only, []
        )  # noqa: E501


@pytest.fixture
def chats(tmp_path):
    """Rows of chats in a file, one of them without an answer."""
    rng = random.Random(1)

    def words(alphabet: str) -> str:
        return " ".join("".join(rng.choices(alphabet, k=5)) for _ in range(rng.randint(2, 20)))

    rows = [
        chat(
            *[
                turn
                for _ in range(rng.randint(1, 3))
                for turn in ((USER, words("abcd")), (ASSISTANT, words("0123")))
            ]
        )  # noqa: E501
        for _ in range(80)
    ]
    rows.append(chat((USER, "nobody answers this")))
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    (tmp_path / "text.jsonl").write_text(
        "\n".join(json.dumps({"text": words("wxyz")}) for _ in range(80))
    )
    return rows[:-1]


def test_a_corpus_of_chats(chats, tmp_path) -> None:
    domains = {
        "chats": {"path": "chats.jsonl", "messages": "messages"},
        "text": {"path": "text.jsonl"},
    }
    corpus = prepare_corpus(settings(domains, passage_bytes=64), tmp_path / "out", tmp_path)
    tokens, mask = corpus.train_tokens("chats"), corpus.train_mask("chats")
    offsets = corpus.train_documents("chats")
    assert len(tokens) == len(mask) == offsets[-1]
    assert corpus.train_mask("text") is None
    everything = {ByteTokenizer().render_chat(row).text: row for row in chats}
    shard = corpus.validation("chats")
    held_out = [
        (shard.tokens[b:e], shard.loss_mask[b:e])
        for b, e in zip(shard.offsets, shard.offsets[1:], strict=False)
    ]
    trained = [(tokens[b:e], mask[b:e]) for b, e in zip(offsets, offsets[1:], strict=False)]
    assert len(trained) + len(held_out) == len(chats)
    assert held_out
    for ids, learned in [*trained, *held_out]:
        row = everything.pop(corpus.decode(ids).removesuffix("</s>"))
        answers = [message["content"] for message in row if message["role"] == ASSISTANT]
        assert corpus.decode(ids[learned == 1]) == "\n\n".join(answers) + "</s>"
    # A chat is one passage, however long, and counts with its answers' bytes.
    for (ids, learned), size in zip(held_out, shard.bytes.tolist(), strict=True):
        assert size == int(learned.sum()) - 1
        assert len(ids) > size
    manifest = corpus.manifest["domains"]["chats"]
    assert {"train.loss_mask", "validation.loss_mask"} <= set(manifest["tokens_hash"])
    for length in (16, 64):
        offered = {int(o) for o in offsets[corpus.examples("chats", length)]}
        expected = {
            int(b) for b, (_, m) in zip(offsets, trained, strict=False) if m[1:length].any()
        }
        assert offered == expected
        rows = np.asarray(mask[: len(mask) // length * length]).reshape(-1, length)
        assert (
            corpus.sequences("chats", length).tolist()
            == np.flatnonzero(rows[:, 1:].any(axis=1)).tolist()
        )


def test_chats_without_any_answer_are_no_domain(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"m": chat((USER, "hello"))}))
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "b"}))
    domains = {"a": {"path": "a.jsonl", "messages": "m"}, "b": {"path": "b.jsonl"}}
    with pytest.raises(CorpusError, match=r"domains\.a: has no text; allowed: .* an answer"):
        prepare_corpus(settings(domains), tmp_path / "out", tmp_path)
