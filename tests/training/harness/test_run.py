"""Real runs of lm-evaluation-harness on a model whose answers are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.model import SharedLM, wrap_model
from admire_pipeline.training.harness.run import read_metric, run_task
from admire_pipeline.training.harness.tasks import ROOM, build_task
from admire_pipeline.training.run import load_model
from admire_pipeline.training.settings import TaskSettings
from tests.training.harness.test_questions import choice, own_task, write


@pytest.fixture(scope="module")
def lm(bigram_model: Path) -> SharedLM:
    return wrap_model(load_model(bigram_model), "byt5", batch_size=3)


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """After the space before an answer the model prefers `a`: right in 6 of 8 questions."""
    return write(tmp_path / "letters.jsonl", [choice(f"{i}?", int(i < 2)) for i in range(8)])


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """The model says 4, and no more: right in 3 of 5, of which one has spaces around it."""
    answers = ["4", "44", " 4 ", "5", "4"]
    rows = [{"question": f"{i}=", "answer": answer} for i, answer in enumerate(answers)]
    return write(tmp_path / "sums.jsonl", rows)


def test_accuracy_and_its_error(lm: SharedLM, letters: Path) -> None:
    metric, results = run_task("letters", own_task(letters), lm, chat=False)
    assert metric.name == "acc.letters"
    assert metric.value == 6 / 8
    assert metric.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 7), rel=1e-12)
    assert (metric.documents, metric.bytes) == (8, None)
    assert results["results"]["letters"]["acc,none"] == 0.75
    assert results["n-samples"] == {"letters": {"original": 8, "effective": 8}}
    assert results["n-shot"] == {"letters": 0}
    assert "samples" not in results


def test_the_first_byte_of_an_answer_counts(lm: SharedLM) -> None:
    """ByT5's tokenizer ends each text: an end between prompt and answer would shift the answer."""
    context, answer = lm._encode_pair("2+2=", " a")
    assert [bytes([token - 3]) for token in context] == [b"2", b"+", b"2", b"="]
    assert [bytes([token - 3]) for token in answer] == [b" ", b"a"]


def test_generation_is_compared_word_for_word(lm: SharedLM, sums: Path) -> None:
    metric, _ = run_task("sums", own_task(sums, "generation"), lm, chat=False)
    assert (metric.name, metric.value, metric.documents) == ("exact_match.sums", 3 / 5, 5)
    assert metric.standard_error == pytest.approx(math.sqrt(0.6 * 0.4 / 4), rel=1e-12)


def test_an_answer_is_as_long_as_is_said(
    lm: SharedLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.jsonl", [{"question": "1=", "answer": "4"}])
    asked: list[int] = []
    generate = lm._model_generate

    def noted(context: Any, max_length: int, **how: Any) -> Any:
        asked.append(max_length - context.shape[1])
        return generate(context, max_length, **how)

    monkeypatch.setattr(lm, "_model_generate", noted)
    for tokens in (None, 2, 30):
        run_task("x", own_task(path, "generation", max_tokens=tokens), lm, chat=False)
    assert asked == [1 + ROOM, 2, 30]


def test_limit_takes_the_first_questions(lm: SharedLM, letters: Path) -> None:
    metric, results = run_task("letters", own_task(letters, limit=3), lm, chat=False)
    assert (metric.value, metric.documents) == (1 / 3, 3)
    assert results["n-samples"] == {"letters": {"original": 8, "effective": 3}}


def test_one_question_has_no_error(lm: SharedLM, letters: Path) -> None:
    metric, _ = run_task("letters", own_task(letters, limit=1), lm, chat=False)
    assert math.isnan(metric.standard_error)


@pytest.mark.parametrize("kind", ["multiple_choice", "generation"])
def test_examples_never_tell_the_answer(tmp_path: Path, kind: str) -> None:
    """All other questions are drawn as examples: each stands once, with its answer, in front."""
    rows: list[dict[str, Any]] = [choice(f"q{i}?", i % 2) for i in range(4)]
    if kind == "generation":
        rows = [{"question": f"q{i}?", "answer": "ab"[i % 2]} for i in range(4)]
    settings = own_task(write(tmp_path / "x.jsonl", rows), kind, few_shot=3)
    task = build_task("x", settings, "t", len)
    task.set_config(key="num_fewshot", value=3)
    task.set_fewshot_seed(0)
    task.build_all_requests()
    prompts = {instance.doc["question"]: instance.args[0] for instance in task.instances}
    for number in range(4):
        *examples, question = prompts[f"q{number}?"].split("\n\n")
        assert question == f"q{number}?"
        expected = [f"q{i}? {'ab'[i % 2]}" for i in range(4) if i != number]
        assert sorted(examples) == expected


def test_few_shot_reaches_the_harness(lm: SharedLM, letters: Path) -> None:
    metric, results = run_task("letters", own_task(letters, few_shot=2), lm, chat=False)
    assert results["n-shot"] == {"letters": 2}
    assert metric.value == 6 / 8


def test_a_prompt_that_is_cut_is_told_once(
    lm: SharedLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "long.jsonl", [choice(f"{i}" * 200) for i in range(3)])
    run_task("long", own_task(path), lm, chat=False)
    told = [r.message for r in caplog.records if r.name.startswith("lm_eval")]
    assert len(told) == 1 and "Truncating" in told[0]


def test_an_answer_that_is_too_long_for_the_model(lm: SharedLM, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"question": "?", "answer": "x" * 200}])
    with pytest.raises(UserError, match=r"evaluation\.tasks\.x: .* failed \(AssertionError: .*208"):
        run_task("x", own_task(path, "generation"), lm, chat=False)


def test_data_that_cannot_be_fetched(lm: SharedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    task = TaskSettings(task="arc_easy", metric="acc")
    with pytest.raises(
        UserError, match=r"evaluation\.tasks\.arc\.task: .*'arc_easy' cannot be.*HF_TOKEN"
    ):
        run_task("arc", task, lm, chat=False)


def test_chat_with_another_tokenizer(
    bigram_model: Path, word_tokenizer: Path, tmp_path: Path
) -> None:
    """Words are all alike to the model, and of equals the first is chosen: right in 2 of 3."""
    lm = wrap_model(load_model(bigram_model), str(word_tokenizer), batch_size=2)
    rows = [
        {"question": "hello you", "choices": ["hello", "you"], "answer": answer}
        for answer in (0, 0, 1)
    ]
    task = own_task(write(tmp_path / "x.jsonl", rows), few_shot=1)
    metric, results = run_task("x", task, lm, chat=True)
    assert metric.value == pytest.approx(2 / 3)
    assert results["n-shot"] == {"x": 1}


RESULTS: dict[str, Any] = {
    "results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": "N/A", "ppl,none": 3.0}},
    "higher_is_better": {"t": {"acc": True, "ppl": False}},
    "n-samples": {"t_1": {"effective": 3, "original": 9}, "t_2": {"effective": 4, "original": 4}},
}


def test_questions_of_a_group_are_counted_together() -> None:
    metric = read_metric(RESULTS, "mine", TaskSettings(task="t", metric="acc"))
    assert (metric.name, metric.value, metric.documents) == ("acc.mine", 0.5, 7)
    assert math.isnan(metric.standard_error)


def test_a_metric_that_was_not_measured() -> None:
    with pytest.raises(UserError, match=r"no metric and filter 'f1,none'.*acc,none, ppl,none$"):
        read_metric(RESULTS, "mine", TaskSettings(task="t", metric="f1"))


def test_a_loss_that_the_score_would_maximise() -> None:
    with pytest.raises(UserError, match=r"tasks\.mine\.metric: of 'ppl' less is better"):
        read_metric(RESULTS, "mine", TaskSettings(task="t", metric="ppl"))
