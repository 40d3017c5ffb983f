from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admire_pipeline.training.corpus import CorpusError
from admire_pipeline.training.corpus.tokenizer import (
    ByteTokenizer,
    HuggingFaceTokenizer,
    load_tokenizer,
    split_revision,
)


@pytest.fixture(scope="module")
def reference():
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


TEXTS = st.lists(st.text(max_size=40) | st.sampled_from(["</s>", "a <pad>", "<extra_id_1>\0"]))


@given(TEXTS)
def test_bytes_equal_byt5_token_for_token(reference, texts):
    tokens, lengths = ByteTokenizer().encode([text.encode() for text in texts])
    expected = [
        reference(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for text in texts
    ]
    assert tokens.tolist() == [token for ids in expected for token in ids]
    assert lengths.tolist() == [len(ids) for ids in expected]
    assert tokens.dtype == np.uint16


@given(st.lists(st.integers(0, 383), max_size=60))
def test_decoding_equals_byt5(reference, tokens):
    assert ByteTokenizer().decode(np.array(tokens, np.uint16)) == reference.decode(tokens)


def test_vocabulary_equals_byt5(reference):
    vocabulary = ByteTokenizer.vocabulary
    assert vocabulary.size == len(reference)
    assert vocabulary.eos_token_id == reference.eos_token_id
    assert vocabulary.pad_token_id == reference.pad_token_id


def test_any_other_tokenizer(word_tokenizer):
    tokenizer = load_tokenizer(str(word_tokenizer))
    tokens, lengths = tokenizer.encode([b"hello you", b"", b"you <end> hello hello"])
    assert tokens.tolist() == [3, 4, 4, 1, 3, 3]
    assert lengths.tolist() == [2, 0, 4]
    assert tokenizer.vocabulary.size == 7
    assert tokenizer.vocabulary.eos_token_id == tokenizer.vocabulary.pad_token_id == 1
    assert tokenizer.decode(tokens[:2]) == "hello you"


def test_chats_take_the_tokenizers_template_or_a_plain_layout(word_tokenizer):
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "you"}]
    rendered = HuggingFaceTokenizer(str(word_tokenizer)).render_chat(chat)
    assert rendered.text == "user hello<end>assistant you<end>"
    assert ByteTokenizer().render_chat(chat).text == "user: hello\n\nassistant: you"


def test_a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(CorpusError, match=r"corpus\.tokenizer: cannot load .*; allowed: byt5") as e:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(e.value)


def test_a_tokenizer_without_an_end_of_text(tmp_path, word_tokenizer):
    shutil.copytree(word_tokenizer, tmp_path / "words")
    path = tmp_path / "words" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in config.items() if k != "eos_token"}))
    with pytest.raises(CorpusError, match=r"corpus\.tokenizer: .* has no end-of-text token; allow"):
        load_tokenizer(str(tmp_path / "words"))


def test_a_revision_stands_after_the_name(tmp_path, word_tokenizer, monkeypatch):
    assert split_revision("org/name@abc") == ("org/name", "abc")
    assert split_revision("org/name") == ("org/name", None)
    (tmp_path / "my@folder").mkdir()
    assert split_revision(str(tmp_path / "my@folder")) == (str(tmp_path / "my@folder"), None)
    asked = []

    from transformers import PreTrainedTokenizerFast

    def load(name, **options):
        asked.append((name, options["revision"], options["trust_remote_code"]))
        return PreTrainedTokenizerFast.from_pretrained(word_tokenizer)

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", load)
    load_tokenizer.cache_clear()
    load_tokenizer("org/name@abc")
    load_tokenizer("org/name")
    assert asked == [("org/name", "abc", False), ("org/name", "main", False)]
    load_tokenizer.cache_clear()
