"""Where an answer of a chat ends: real generation by a model whose every next token is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from transformers import AutoTokenizer

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.check import check_questions
from admire_pipeline.training.harness.model import SharedLM, find_turn_end, wrap_model
from admire_pipeline.training.harness.run import run_task
from admire_pipeline.training.run import load_model
from tests.chats import write_checkpoint
from tests.training.conftest import write_bigram_model
from tests.training.harness.test_check import settings
from tests.training.harness.test_questions import own_task, write


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model, and the tokenizer of Qwen2.5's base models: the end of a turn is not that of text.

    `2`, `d` and `z` are followed by the end of a turn, and that by a 5.
    """
    tokenizer = write_checkpoint(tmp_path_factory.mktemp("tokenizer"))
    known = AutoTokenizer.from_pretrained(tokenizer)

    def number(text: str) -> int:
        (token,) = known.encode(text, add_special_tokens=False)
        return token

    pairs = {number(before): number(after) for before, after in ("\n4", "42", "ab", "bc")}
    end, eos = number("<|im_end|>"), number("<|endoftext|>")
    pairs |= {number(last): end for last in "2cz"} | {end: number("5"), number("!"): eos}
    size = -(-len(known) // 8) * 8
    folder = write_bigram_model(tmp_path_factory.mktemp("model"), size, pairs, eos, eos)
    return folder, str(tokenizer)


def ask(lm: SharedLM, prompts: list[str], **how: Any) -> list[str]:
    how = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False, **how}
    requests = [Instance("generate_until", {}, (prompt, how), 0) for prompt in prompts]
    return lm.generate_until(requests, disable_tqdm=True)


def test_an_answer_ends_with_the_turn(chat_model: tuple[Path, str], tmp_path: Path) -> None:
    folder, tokenizer = chat_model
    lm = wrap_model(load_model(folder), tokenizer, batch_size=2, chat=True)
    rows = [{"question": f"{i} and {i}?", "answer": "42"} for i in range(3)]
    task = own_task(write(tmp_path / "x.jsonl", rows), "generation", few_shot=1)
    metric, _ = run_task("x", task, lm, chat=True)
    assert metric.value == 1.0


def test_answers_of_a_batch_end_each_for_itself(chat_model: tuple[Path, str]) -> None:
    """The first to end goes on until the last does: what it says then is no part of its answer."""
    folder, tokenizer = chat_model
    lm = wrap_model(load_model(folder), tokenizer, batch_size=3, chat=True)
    assert ask(lm, ["1a", "1z", "1!"]) == ["bc", "", ""]
    assert ask(lm, ["1a", "1z"], until="c") == ["b", ""]


def test_an_end_of_ordinary_and_special_tokens_cuts_at_the_special_one(
    chat_model: tuple[Path, str], tmp_path: Path
) -> None:
    folder, tokenizer = chat_model
    known = AutoTokenizer.from_pretrained(tokenizer)
    known.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} #<|im_end|>\n{% endfor %}"
    )
    known.save_pretrained(tmp_path)
    lm = wrap_model(load_model(folder), str(tmp_path), batch_size=1, chat=True)
    assert lm._turn_end == "#<|im_end|>"
    assert lm.tok_decode(known.encode("a # b")) == "a # b"
    assert lm.tok_decode(known.encode("a # b #<|im_end|>c")) == "a # b #"


def test_nothing_is_written_after_the_last_turn(
    chat_model: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tokenizer = chat_model
    lm = wrap_model(load_model(folder), tokenizer, batch_size=2, chat=True)
    generate, written = lm._model_generate, []

    def noted(context: Any, **how: Any) -> Any:
        tokens = generate(context, **how)
        written.append(tokens.shape[1] - context.shape[1])
        return tokens

    monkeypatch.setattr(lm, "_model_generate", noted)
    assert ask(lm, ["1a", "1z"], max_gen_toks=50) == ["bc", ""]
    assert written == [3]


def test_an_answer_that_is_no_turn_goes_on(chat_model: tuple[Path, str]) -> None:
    folder, tokenizer = chat_model
    lm = wrap_model(load_model(folder), tokenizer, batch_size=3)
    (answer,) = ask(lm, ["1a"])
    assert answer.startswith("bc5")


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("{{ m['role'] }}: {{ m['content'] }}<|im_end|>\n", "<|im_end|>"),
        ("{{ m['role'] }}: {{ m['content'] }} </answer>\n", "</answer>"),
        ("{{ m['role'] }}: {{ m['content'] }}\n\n", ""),
        ("{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}", "<|endoftext|>"),
        ("{{ m['content'] }}", ""),
    ],
)
def test_what_ends_a_turn(
    chat_model: tuple[Path, str], tmp_path: Path, template: str, end: str
) -> None:
    known = AutoTokenizer.from_pretrained(chat_model[1])
    known.chat_template = f"{{% for m in messages %}}{template}{{% endfor %}}"
    known.save_pretrained(tmp_path)
    assert find_turn_end(str(tmp_path)) == end


def test_a_template_that_tells_no_answer(chat_model: tuple[Path, str], tmp_path: Path) -> None:
    """The prompt to give an answer does not come before the answer that is given."""
    known = AutoTokenizer.from_pretrained(chat_model[1])
    known.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}Answer:{% endif %}"
    )
    known.save_pretrained(tmp_path)
    write(tmp_path / "x.jsonl", [{"question": "?", "answer": "!"}])
    task = own_task(tmp_path / "x.jsonl", "generation")
    asked = settings({"t": task.model_dump()}, chat=True)
    with pytest.raises(UserError, match=r"^evaluation\.chat: the chat template of .* does not say"):
        check_questions(asked, str(tmp_path))
