"""Evaluation: validation loss in bits per byte, per domain, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from admire_pipeline.training.dataset import IGNORED
from admire_pipeline.training.device import has_bf16
from admire_pipeline.training.objective import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from admire_pipeline.training.corpus import Corpus, ValidationShard


def evaluate_domains(  # noqa: PLR0913
    model: PreTrainedModel,
    corpus: Corpus,
    sequence_length: int,
    batch_size: int,
    max_bytes: int,
    domains: Sequence[str] | None = None,
) -> list[Metric]:
    """Bits per byte of `model` on validation domains.

    Every token of a passage is predicted once, from at most `sequence_length` tokens before it in
    its window; the first one from the end-of-text token. Of chats, only what the assistant says
    counts, with the end of its turn as the template writes it. Bits per byte of text do not depend
    on the tokenizer, so models with different vocabularies compare; of chats, those of one
    template.

    Args:
        model: A causal language model.
        corpus: Its validation shards.
        sequence_length: Tokens in a window.
        batch_size: Windows in one forward pass.
        max_bytes: Text read per domain, in UTF-8 bytes, whole passages.
        domains: Which ones; None: all.
    """
    metrics = []
    for domain in corpus.validation_domains if domains is None else domains:
        shard = corpus.validation(domain)
        count = shard.first(max_bytes)
        nats = passage_losses(model, shard, count, corpus.eos_token_id, sequence_length, batch_size)
        value, error = bits_per_byte(nats, shard.bytes[:count], shard.document[:count])
        metrics.append(
            Metric(
                name=f"bits_per_byte.{domain}",
                value=value,
                standard_error=error,
                documents=len(np.unique(shard.document[:count])),
                bytes=int(shard.bytes[:count].sum()),
            )
        )
    return metrics


def passage_losses(  # noqa: PLR0913 - the window is the caller's to choose
    model: PreTrainedModel,
    shard: ValidationShard,
    count: int,
    eos_token_id: int,
    sequence_length: int,
    batch_size: int,
) -> np.ndarray:
    """Summed negative log-likelihood of the first `count` passages, in nats, `count`, float64."""
    import torch
    from torch.nn.functional import cross_entropy

    windows = [
        (passage, *window)
        for passage in range(count)
        for window in _windows(shard, passage, eos_token_id, sequence_length)
    ]
    # Windows of like length share a batch, so that little is padded.
    windows.sort(key=lambda window: len(window[1]), reverse=True)
    losses = np.zeros(count)
    device = model.device
    training = model.training
    model.eval()
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=has_bf16()),
    ):
        for begin in range(0, len(windows), batch_size):
            batch = windows[begin : begin + batch_size]
            longest = len(batch[0][1])
            inputs = torch.zeros((len(batch), longest), dtype=torch.long)
            targets = torch.full((len(batch), longest), IGNORED, dtype=torch.long)
            for row, (_, given, wanted) in enumerate(batch):
                inputs[row, : len(given)] = torch.from_numpy(given)
                targets[row, : len(wanted)] = torch.from_numpy(wanted)
            # Padding stands on the right, where causal attention never looks back at it.
            logits = model(input_ids=inputs.to(device), use_cache=False).logits
            # A window at a time: a float32 copy of all logits can be larger than the model.
            nats = [
                cross_entropy(row.float(), target, reduction="sum")
                for row, target in zip(logits, targets.to(device), strict=True)
            ]
            passages = [passage for passage, *_ in batch]
            np.add.at(losses, passages, torch.stack(nats).cpu().double().numpy())
    model.train(training)
    return losses


def _windows(
    shard: ValidationShard, passage: int, eos_token_id: int, length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of a passage's windows, of at most `length` tokens, int64."""
    start, end = shard.offsets[passage : passage + 2]
    tokens = np.asarray(shard.tokens[start:end], np.int64)
    if shard.loss_mask is None:
        inputs, targets = np.append(eos_token_id, tokens[:-1]), tokens
    else:
        # A chat begins as its template has it, without an end-of-text token before it.
        learned = np.asarray(shard.loss_mask[start:end], bool)
        inputs, targets = tokens[:-1], np.where(learned, tokens, IGNORED)[1:]
    for begin in range(0, len(inputs), length):
        window = slice(begin, begin + length)
        if (targets[window] != IGNORED).any():
            yield inputs[window], targets[window]


def bits_per_byte(nats: np.ndarray, size: np.ndarray, document: np.ndarray) -> tuple[float, float]:
    """Bits per byte of a domain and its standard error over documents.

    The value is a ratio of sums, its error the linearised one of a ratio estimator with documents
    as clusters (Cochran, Sampling Techniques, 3rd ed., 1977, eq. 2.44 and ch. 9A): passages of one
    document resemble each other and do not count as independent.

    Args:
        nats: Negative log-likelihood per passage, `n`.
        size: UTF-8 bytes per passage, `n`.
        document: Document of each passage, `n`.

    Returns:
        Value and standard error; the error is NaN where there is only one document.
    """
    _, cluster = np.unique(document, return_inverse=True)
    bits = np.bincount(cluster, weights=nats) / math.log(2)
    sizes = np.bincount(cluster, weights=size)
    value = bits.sum() / sizes.sum()
    n = len(bits)
    if n < 2:
        return float(value), math.nan
    residual = bits - value * sizes
    return float(value), float(np.sqrt(n / (n - 1) * (residual**2).sum()) / sizes.sum())


def mean_bits_per_byte(metrics: Sequence[Metric]) -> float:
    """Plain mean over domains, for the curves."""
    return float(np.mean([metric.value for metric in metrics]))
