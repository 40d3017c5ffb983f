from __future__ import annotations

from pathlib import Path

import pytest

from admire_pipeline.training.corpus import prepare_corpus
from admire_pipeline.training.estimate import measure_shape
from admire_pipeline.training.settings import LaunchSettings, LoraSettings
from admire_pipeline.training.work import (
    GPUS,
    estimate_corpus,
    estimate_hours,
    estimate_work,
    host_bytes,
)
from tests.training.corpus.texts import documents, settings, write_rows
from tests.training.test_estimate import LENGTH, config, fidelity


def test_work_and_hours() -> None:
    shape = measure_shape(config(), LENGTH)
    tokens = estimate_work(shape, fidelity(tokens=20 * LENGTH + 5).training)
    assert (tokens.sequences, tokens.steps, tokens.exact) == (20, 3, True)
    assert tokens.flops == 20 * LENGTH * shape.flops
    examples = fidelity(tokens=None, examples=100).training
    assert estimate_work(shape, examples).sequences == 100
    assert not estimate_work(shape, examples).exact
    packed = estimate_work(shape, examples, example_tokens=LENGTH // 4)
    assert (packed.sequences, packed.exact) == (25, True)
    assert estimate_work(shape, examples, example_tokens=10**6).sequences == 100
    hours = estimate_hours(tokens, fidelity(), GPUS["h100"])
    assert hours == pytest.approx(tokens.flops / (0.4 * 989e12) / 3600)
    eight = fidelity(launch={"processes": 8}, gradient_checkpointing=True)
    assert estimate_hours(tokens, eight, GPUS["h100"]) == pytest.approx(hours / 8 * 4 / 3)


def test_each_process_holds_the_whole_model_first() -> None:
    shape = measure_shape(config(), LENGTH)
    assert host_bytes(shape, LaunchSettings(processes=8)) == 8 * 4 * shape.parameters
    adapted = measure_shape(config(), LENGTH, LoraSettings(rank=2, alpha=4))
    frozen = adapted.parameters - adapted.trained
    assert host_bytes(adapted, LaunchSettings()) == 4 * adapted.trained + 2 * frozen


def test_disk_of_a_corpus_is_about_what_is_built(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", documents(100))
    write_rows(tmp_path / "b.jsonl", documents(100, seed=1))
    domains = {name: {"path": f"{name}.jsonl", "max_bytes": 8000} for name in "ab"}
    domains["c"] = {"embedded": "python"}
    corpus = settings(domains)
    disk = estimate_corpus(corpus, 384)
    assert disk is not None
    assert (disk.shards, disk.copies, disk.domains) == (2 * 8000 * 2, 8000, 2)
    del domains["c"]
    built = prepare_corpus(settings(domains), tmp_path / "corpus", tmp_path)
    shards = sum(path.stat().st_size for path in built.folder.rglob("train.tokens"))
    assert 0.5 * disk.shards < shards <= 1.1 * disk.shards


@pytest.mark.parametrize(
    ("tokenizer", "vocabulary", "chats", "width"),
    [
        ("byt5", 384, False, 2),
        ("team/model", 50432, False, 2 / 4),
        ("team/model", 151936, False, 4 / 4),
        ("team/model", 151936, True, 5 / 4),
        ("team/model", None, False, 4 / 4),
    ],
)
def test_bytes_of_a_token(
    tokenizer: str, vocabulary: int | None, chats: bool, width: float
) -> None:
    source = {"path": "a.jsonl", "max_bytes": 1000} | ({"messages": "m"} if chats else {})
    corpus = settings({"a": source, "b": {"path": "b.jsonl"}}, tokenizer=tokenizer)
    disk = estimate_corpus(corpus, vocabulary)
    assert disk is not None and disk.shards == 1000 * width
    assert estimate_corpus(settings({"a": {"path": "a"}, "b": {"path": "b"}}), 384) is None
