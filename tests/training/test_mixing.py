from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.dataset import MixtureDataset, sample_texts
from admire_pipeline.training.mixing import MixingPlan, plan_mixture

LENGTH = 64


def all_tokens(dataset: MixtureDataset) -> bytes:
    return b"".join(dataset.piece(index)[0].tobytes() for index in range(len(dataset)))


@settings(max_examples=50, deadline=None)
@given(weight=st.floats(0, 1), sequences=st.integers(1, 500))
def test_plan_is_exact(corpus: Corpus, weight: float, sequences: int) -> None:
    mixture = {"letters": weight, "numbers": 1 - weight}
    plan = plan_mixture(mixture, sequences, LENGTH, corpus, seed=1)
    assert sum(entry.tokens for entry in plan.domains) == plan.tokens == sequences * LENGTH
    for entry in plan.domains:
        assert abs(entry.tokens - mixture[entry.domain] * plan.tokens) < LENGTH
        assert entry.epochs == pytest.approx(entry.draws / entry.available)


def test_same_seed_same_tokens_byte_for_byte(corpus: Corpus) -> None:
    mixture = {"letters": 0.3, "numbers": 0.7}
    plan = plan_mixture(mixture, 100, LENGTH, corpus, seed=1)
    first = all_tokens(MixtureDataset(plan, corpus))
    read_back = MixingPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert read_back == plan
    assert all_tokens(MixtureDataset(read_back, corpus)) == first
    assert all_tokens(MixtureDataset(replace(plan, seed=2), corpus)) != first


def test_no_repetition_before_a_domain_is_exhausted(corpus: Corpus) -> None:
    there = len(corpus.sequences("letters", LENGTH))
    plan = plan_mixture({"letters": 1.0, "numbers": 0.0}, 2 * there, LENGTH, corpus, seed=0)
    assert plan.domains[0].epochs == 2
    assert plan.domains[1].epochs == 0
    draw = MixtureDataset(plan, corpus).draw
    assert sorted(draw.sequence[:there]) == sorted(draw.sequence[there:]) == list(range(there))
    short = plan_mixture({"letters": 1.0, "numbers": 0.0}, there - 1, LENGTH, corpus, seed=0)
    assert len(np.unique(MixtureDataset(short, corpus).draw.sequence)) == there - 1


@pytest.mark.parametrize("workers", [0, 2])
def test_order_does_not_depend_on_loader_workers(corpus: Corpus, workers: int) -> None:
    plan = plan_mixture({"letters": 0.5, "numbers": 0.5}, 40, LENGTH, corpus, seed=1)
    dataset = MixtureDataset(plan, corpus)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=8, num_workers=workers, collate_fn=lambda batch: batch
    )
    seen = torch.cat([batch["input_ids"] for batch in loader]).numpy()
    assert seen.tobytes() == all_tokens(dataset)


def test_sequences_come_from_their_domain(corpus: Corpus) -> None:
    plan = plan_mixture({"letters": 0.5, "numbers": 0.5}, 20, LENGTH, corpus, seed=1)
    dataset = MixtureDataset(plan, corpus)
    for index, domain in enumerate(dataset.draw.domain):
        text = set(corpus.decode(dataset.piece(index)[0])) - set(" \n</s>")
        assert text <= set("abcdefgh" if domain == 0 else "0123456789")


def test_samples_show_each_domain(corpus: Corpus) -> None:
    plan = plan_mixture({"letters": 0.25, "numbers": 0.75}, 40, LENGTH, corpus, seed=1)
    shown = sample_texts(plan, corpus, samples=2, characters=10)
    assert "=== letters: 640 tokens, " in shown
    assert "=== numbers: 1920 tokens, " in shown
    assert shown.count("--- sequence") == 4


def test_other_text_is_refused(corpus: Corpus) -> None:
    plan = plan_mixture({"letters": 0.5, "numbers": 0.5}, 4, LENGTH, corpus, seed=1)
    with pytest.raises(UserError, match="corpus: its text has changed"):
        MixtureDataset(replace(plan, corpus="0" * 64), corpus)


def test_domain_without_a_sequence(corpus: Corpus) -> None:
    with pytest.raises(UserError, match=r"corpus\.domains\.letters: has no sequence of 10000000"):
        plan_mixture({"letters": 0.5, "numbers": 0.5}, 4, 10_000_000, corpus, seed=1)
