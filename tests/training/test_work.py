from __future__ import annotations

import pytest

from admire_pipeline.training.estimate import measure_shape
from admire_pipeline.training.work import GPUS, estimate_hours, estimate_work
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
