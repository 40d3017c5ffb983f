from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from admire_pipeline.errors import TrialError, UserError
from admire_pipeline.training.objective import (
    Metric,
    ObjectiveSettings,
    score_metrics,
    signed_weights,
)


def metric(name: str, value: float, error: float = 0.0) -> Metric:
    return Metric(name, value, error, documents=3, bytes=30)


METRICS = [metric("bits_per_byte.a", 2.0, 0.3), metric("bits_per_byte.b", 4.0, 0.4)]


def test_losses_are_negated_and_averaged() -> None:
    score = score_metrics(METRICS, None)
    assert score.value == -3.0
    assert score.standard_error == pytest.approx(0.25)


def test_weights_are_normalised() -> None:
    score = score_metrics(METRICS, {"bits_per_byte.a": 3.0, "bits_per_byte.b": 1.0})
    assert score.value == pytest.approx(-2.5)
    assert score_metrics(METRICS, {"bits_per_byte.b": 7.0}).value == -4.0


@pytest.mark.parametrize("weights", [None, {"bits_per_byte.b": 0.3, "accuracy.c": 0.9}])
def test_the_score_is_the_sum_of_signed_weights(weights: dict[str, float] | None) -> None:
    metrics = [*METRICS, metric("accuracy.c", 0.123)]
    signed = signed_weights([m.name for m in metrics], weights)
    values = {m.name: m.value for m in metrics}
    total = sum(weight * values[name] for name, weight in signed.items())
    assert total == score_metrics(metrics, weights).value
    assert signed["bits_per_byte.b"] < 0 < signed["accuracy.c"]
    assert sum(map(abs, signed.values())) == pytest.approx(1.0)


def test_gains_keep_their_sign() -> None:
    assert score_metrics([metric("accuracy.a", 0.5)], None).value == 0.5


def test_unknown_metric() -> None:
    with pytest.raises(UserError, match="'bits_per_byte.c' was not measured; measured: bits"):
        score_metrics(METRICS, {"bits_per_byte.c": 1.0})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_score_must_be_a_number(value: float) -> None:
    with pytest.raises(TrialError, match=r"score is -?(nan|inf) \(bits_per_byte\.c\)"):
        score_metrics([*METRICS, metric("bits_per_byte.c", value)], None)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_weights_must_be_positive(weight: float) -> None:
    with pytest.raises(ValidationError):
        ObjectiveSettings(weights={"bits_per_byte.a": weight})
