from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.evaluation import bits_per_byte, evaluate_domains, passage_losses
from admire_pipeline.training.models import build_model
from admire_pipeline.training.settings import ModelSettings

LENGTH = 32


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_losses_equal_a_plain_loop(
    corpus: Corpus, model_settings: ModelSettings, attention: str
) -> None:
    """Batching, padding and sorting change nothing: one window at a time gives the same."""
    settings = model_settings.model_copy(update={"attention": attention})
    model = build_model(settings, corpus, LENGTH, seed=0).eval()
    plain = build_model(
        model_settings.model_copy(update={"attention": "eager"}), corpus, LENGTH, seed=0
    ).eval()
    shard = corpus.validation("letters")
    count = 7
    expected = np.zeros(count)
    for passage in range(count):
        tokens = shard.tokens[shard.offsets[passage] : shard.offsets[passage + 1]]
        tokens = torch.tensor([corpus.eos_token_id, *tokens.tolist()])
        for begin in range(0, len(tokens) - 1, LENGTH):
            window = tokens[begin : begin + LENGTH + 1]
            with torch.no_grad():
                logits = plain(input_ids=window[None, :-1]).logits[0]
            picked = logits.log_softmax(-1).gather(1, window[1:, None])
            expected[passage] -= picked.sum().item()
    losses = passage_losses(model, shard, count, corpus.eos_token_id, LENGTH, batch_size=5)
    # float32 sums of some hundred terms
    assert losses == pytest.approx(expected, rel=1e-5)


def test_untrained_model_needs_the_bits_of_its_vocabulary(
    corpus: Corpus, model_settings: ModelSettings
) -> None:
    model = build_model(model_settings, corpus, LENGTH, seed=0)
    metrics = evaluate_domains(model, corpus, LENGTH, batch_size=8, max_bytes=1024)
    assert [m.name for m in metrics] == [
        f"bits_per_byte.{domain}" for domain in ("letters", "numbers", "held_out")
    ]
    for metric in metrics:
        # One byte is one token: log2 of the vocabulary, give or take the random weights.
        assert metric.value == pytest.approx(math.log2(corpus.vocab_size), rel=0.05)
        assert 0 < metric.standard_error < 0.1
        assert metric.bytes <= 1024
        assert metric.documents >= 2
    assert model.training, "the model is left as it was"


def test_ratio_and_error_by_hand() -> None:
    nats = np.log(2) * np.array([10.0, 20.0, 60.0])
    value, error = bits_per_byte(nats, np.array([10, 10, 20]), np.array([0, 0, 1]))
    assert value == pytest.approx(90 / 40)
    # documents: 30 bits of 20 bytes, 60 of 20; residuals -15, 15; sqrt(2 * 450) / 40
    assert error == pytest.approx(math.sqrt(2 * 450) / 40)


def test_standard_error_agrees_with_resampling() -> None:
    """Against a bootstrap over documents: the linearised error is within 10 % for 200 of them."""
    rng = np.random.default_rng(0)
    document = rng.integers(0, 200, 1000)
    size = rng.integers(50, 150, 1000).astype(float)
    level = rng.normal(2.0, 0.3, 200)
    nats = np.log(2) * size * (level[document] + rng.normal(0, 0.2, 1000))
    _, error = bits_per_byte(nats, size, document)
    bits = np.bincount(document, nats) / np.log(2)
    sizes = np.bincount(document, size)
    draws = rng.integers(0, 200, (2000, 200))
    resampled = bits[draws].sum(1) / sizes[draws].sum(1)
    assert error == pytest.approx(resampled.std(), rel=0.1)


def test_one_document_has_no_error() -> None:
    value, error = bits_per_byte(np.array([1.0]), np.array([2]), np.array([5]))
    assert value == pytest.approx(0.5 / math.log(2))
    assert math.isnan(error)


def test_a_nan_model_gives_nan(corpus: Corpus) -> None:
    class Broken(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
            return SimpleNamespace(logits=torch.full((*input_ids.shape, 384), math.nan))

    metrics = evaluate_domains(Broken(), corpus, LENGTH, 8, 512)
    assert all(math.isnan(metric.value) for metric in metrics)
