"""Chats, a tokenizer with a chat template and little Qwen2.5 checkpoints, for tests offline."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The form of Qwen2.5's chats, without a system prompt of its own."""


def write_chats(folder: Path, count: int = 120) -> dict[str, dict[str, str]]:
    """Two domains of chats, sums and spelling; their settings by name."""
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)

    def summed() -> tuple[str, str]:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        return f"How much is {a} and {b}?", f"{a} + {b} = {a + b}"

    def spelled() -> tuple[str, str]:
        word = "".join(rng.choices("abcdefghij", k=rng.randint(5, 9)))
        return f"Please spell {word}.", "-".join(word.upper())

    domains = {}
    for name, ask in (("sums", summed), ("spelling", spelled)):
        rows = []
        for _ in range(count):
            messages = []
            for _ in range(rng.randint(1, 3)):
                question, answer = ask()
                messages += [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            rows.append(json.dumps({"messages": messages}))
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
        domains[name] = {"path": str(folder / f"{name}.jsonl"), "messages": "messages"}
    return domains


def write_checkpoint(folder: Path, layers: int = 2, **config: Any) -> Path:
    """A Qwen2.5-architecture checkpoint with random weights, and a byte-level ChatML tokenizer.

    As of Qwen2.5's base models, the end of text is not the end of a turn.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHATML,
    )
    tokenizer.save_pretrained(folder)
    set_seed(0)
    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        **config,
    }
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            num_hidden_layers=layers,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **settings,
        )
    ).save_pretrained(folder)
    return folder
