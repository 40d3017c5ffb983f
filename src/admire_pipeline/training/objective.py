"""The score of a trial: a weighted mean of evaluation metrics, always maximised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from admire_pipeline.errors import TrialError, UserError
from admire_pipeline.training.settings import EvaluationSettings

LOSSES = (
    "bits_per_byte",
    "byte_perplexity",
    "word_perplexity",
    "perplexity",
    "brier_score",
    "ter",
)
"""Kinds of metric of which less is better; they enter the score negated."""

SHARES = ("acc", "acc_norm", "exact_match")
"""Kinds of metric that are shares of the questions, 0 to 1."""


@dataclass(frozen=True)
class Metric:
    """One measured metric.

    Attributes:
        name: `<kind>.<domain or task>`, e.g. `bits_per_byte.python`, `acc.arc_easy`.
        value: In the metric's own unit and direction.
        standard_error: Of `value`, in the same unit; NaN where it is not known.
        documents: Validation documents, or questions, it was measured on.
        bytes: UTF-8 bytes it was measured on; None for a task.
    """

    name: str
    value: float
    standard_error: float
    documents: int
    bytes: int | None


@dataclass(frozen=True)
class Score:
    """The objective's value for one trial, and its standard error."""

    value: float
    standard_error: float


class ObjectiveSettings(BaseModel):
    """Which metrics make the score."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weights: dict[str, float] | None = Field(default=None, min_length=1)
    """Weight per metric (`bits_per_byte.<validation domain>` or `<metric>.<task>`); they are
    normalised to sum to 1. null: every measured metric counts the same, in its own unit."""

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        for name, weight in (weights or {}).items():
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"weight of {name} is {weight}; allowed: more than 0")
        if not math.isfinite(sum((weights or {}).values())):
            raise ValueError("the weights' sum is too large; allowed: a finite number")
        return weights


def measured_metrics(domains: Iterable[str], evaluation: EvaluationSettings) -> list[str]:
    """Names of all metrics that a trial measures: the loss of each domain, then the tasks'."""
    return [*(f"bits_per_byte.{domain}" for domain in domains), *evaluation.task_metrics]


def metric_range(name: str) -> tuple[float, float]:
    """What a metric lies between, as far as its kind tells; infinite where it does not."""
    kind = name.split(".", 1)[0]
    if kind in SHARES:
        return 0.0, 1.0
    return (0.0 if kind in LOSSES else -math.inf), math.inf


def signed_weights(
    measured: Iterable[str], weights: Mapping[str, float] | None
) -> dict[str, float]:
    """Weight of each metric in the score, which is their weighted sum: negative for losses.

    Args:
        measured: Names of the metrics that are measured.
        weights: Weight per metric name; None weighs all alike.

    Raises:
        UserError: If a weighted metric is not measured.
    """
    measured = list(measured)
    weights = dict.fromkeys(measured, 1.0) if weights is None else weights
    if missing := sorted(set(weights) - set(measured)):
        raise UserError(
            f"objective.weights: metric {missing[0]!r} was not measured; measured: "
            + ", ".join(sorted(measured))
        )
    total = sum(weights.values())
    return {
        name: (-weight if name.split(".", 1)[0] in LOSSES else weight) / total
        for name, weight in weights.items()
    }


def score_metrics(metrics: Sequence[Metric], weights: Mapping[str, float] | None) -> Score:
    """Weighted mean of the metrics, losses negated; errors of metrics taken as independent.

    Args:
        metrics: What was measured.
        weights: Weight per metric name; None weighs all alike.

    Raises:
        UserError: If a weighted metric was not measured.
        TrialError: If the score is not a finite number.
    """
    measured = {metric.name: metric for metric in metrics}
    signed = signed_weights(measured, weights)
    value = variance = 0.0
    for name, weight in signed.items():
        value += weight * measured[name].value
        variance += (weight * measured[name].standard_error) ** 2
    if not math.isfinite(value):
        bad = next((n for n in signed if not math.isfinite(measured[n].value)), "score")
        raise TrialError(f"score: the trial's score is {value} ({bad}); allowed: a finite number")
    return Score(value, math.sqrt(variance))
