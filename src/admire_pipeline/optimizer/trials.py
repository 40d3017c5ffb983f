"""The trials table as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from admire_pipeline.optimizer.space import Space

if TYPE_CHECKING:
    import pandas as pd

MIXTURE_PREFIX = "mixture."
METRIC_PREFIX = "metric."
METRIC_ERROR_PREFIX = "metric_se."
STATUSES = ("observed", "pending", "failed")

# Mixtures that differ by less in every weight (0.1 percentage points) train the same model.
SAME_MIXTURE = 1e-3


@dataclass(frozen=True)
class Trials:
    """``n`` trials of a space.

    Attributes:
        names: ``n`` trial ids.
        mixtures: ``n x K`` weights.
        fidelities: ``n`` int64 positions in ``Space.fidelities``.
        observed: ``n`` booleans.
        pending: ``n`` booleans; trials neither observed nor pending have failed: they tell
            nothing, and are not tried again.
        scores: ``n`` scores, NaN unless observed.
        score_errors: ``n`` standard errors of the scores, NaN where unknown.
        metrics: ``n x P`` metrics, in the order of ``Space.objective``, NaN where a trial lacks
            one.
        metric_errors: ``n x P`` standard errors of them, NaN where unknown.
    """

    names: tuple[str, ...]
    mixtures: np.ndarray
    fidelities: np.ndarray
    observed: np.ndarray
    pending: np.ndarray
    scores: np.ndarray
    score_errors: np.ndarray
    metrics: np.ndarray
    metric_errors: np.ndarray

    @classmethod
    def from_frame(cls, space: Space, frame: pd.DataFrame) -> Trials:
        """Read and check a trials table.

        Args:
            space: The campaign's space.
            frame: One row a trial with columns ``trial``, ``fidelity``, ``status`` (observed,
                pending or failed), ``score``, optionally ``score_se``, ``mixture.<domain>`` for
                every domain, and optionally ``metric.<name>`` and ``metric_se.<name>`` for the
                objective's metrics. Other columns are ignored. A frame without rows needs no
                columns.

        Returns:
            The trials in the table's order.

        Raises:
            ValueError: If a column is missing or a value is not allowed.
        """
        if frame.empty:
            frame = frame.reindex(columns=_columns(space))
        if missing := [name for name in _columns(space) if name not in frame.columns]:
            raise ValueError(f"trials: column {missing[0]!r} is missing")
        names = tuple(frame["trial"].astype(str))
        if len(set(names)) < len(names):
            repeated = next(name for name, count in Counter(names).items() if count > 1)
            raise ValueError(f"trials: {repeated!r} occurs twice")
        order = [fidelity.name for fidelity in space.fidelities]
        fidelities = _codes("fidelity", frame["fidelity"], order)
        status = _codes("status", frame["status"], STATUSES)
        observed, pending = status == 0, status == 1
        scores = frame["score"].to_numpy(dtype=np.float64)
        if bad := [names[i] for i in np.flatnonzero(observed & ~np.isfinite(scores))]:
            raise ValueError(f"trials: score of observed trial {bad[0]!r} is not a finite number")
        weights = [MIXTURE_PREFIX + name for name in space.mixtures.domains]
        mixtures = frame[weights].to_numpy(dtype=np.float64)
        simplex = np.all(mixtures >= -1e-6, axis=1) & (np.abs(mixtures.sum(axis=1) - 1) <= 1e-6)
        if bad := [names[i] for i in np.flatnonzero(~simplex)]:
            raise ValueError(f"trials: mixture of {bad[0]!r} must be non-negative and sum to 1")
        scores = np.where(observed, scores, np.nan)
        metrics = _optional(frame, [METRIC_PREFIX + name for name in space.objective])
        metrics = np.where(observed[:, None] & np.isfinite(metrics), metrics, np.nan)
        return cls(
            names,
            np.clip(mixtures, 0, 1),
            fidelities,
            observed,
            pending,
            scores,
            _errors(_optional(frame, ["score_se"]))[:, 0],
            metrics,
            _errors(_optional(frame, [METRIC_ERROR_PREFIX + name for name in space.objective])),
        )

    def __len__(self) -> int:
        """Return the number of trials, pending and failed ones included."""
        return len(self.names)

    @property
    def telling(self) -> np.ndarray:
        """Which trials (``n`` booleans) tell something, or will: a failed one does not."""
        return self.observed | self.pending

    def where(self, keep: np.ndarray) -> Trials:
        """Return the trials (in order) for which ``keep`` (``n`` booleans) is true."""
        names = tuple(np.array(self.names, dtype=object)[keep])
        arrays = {field.name: getattr(self, field.name)[keep] for field in fields(self)[1:]}
        return Trials(names, **arrays)

    def feasible(self, space: Space) -> Trials:
        """Leave out trials beyond the bounds, made before these were set, and clean the rest."""
        keep = [space.mixtures.contains(mixture, 1e-6) for mixture in self.mixtures]
        kept = self.where(np.array(keep, dtype=bool))
        return replace(kept, mixtures=space.mixtures.project(kept.mixtures))

    def holds(self, mixtures: np.ndarray, fidelity: int) -> np.ndarray:
        """Tell of mixtures (``m x K``) whether some trial, whatever came of it, is it at a size."""
        from scipy.spatial import KDTree  # half a second, which those who propose nothing save

        at = self.mixtures[self.fidelities == fidelity]
        if not len(at):
            return np.zeros(len(mixtures), dtype=bool)
        nearest, _ = KDTree(at).query(mixtures, p=np.inf, distance_upper_bound=SAME_MIXTURE)
        return np.asarray(nearest < SAME_MIXTURE)


def score_errors(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the standard errors (``n``) of weighted sums of independent metrics.

    Args:
        errors: ``n x P`` standard errors of the metrics; NaN where unknown, and then the sum's is.
        weights: ``P``; a metric of weight 0 need not be known.
    """
    weighed = weights != 0
    return np.sqrt(((errors[:, weighed] * weights[weighed]) ** 2).sum(axis=1))


def _columns(space: Space) -> list[str]:
    mixture = [MIXTURE_PREFIX + name for name in space.mixtures.domains]
    return ["trial", "fidelity", "status", "score", *mixture]


def _optional(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Return columns as numbers, NaN where the table has none."""
    return frame.reindex(columns=columns).to_numpy(dtype=np.float64)


def _errors(values: np.ndarray) -> np.ndarray:
    """Return standard errors, NaN where a value is none."""
    return np.where(np.isfinite(values) & (values >= 0), values, np.nan)


def _codes(column: str, values: pd.Series, allowed: Sequence[str]) -> np.ndarray:
    """Return the position (``n`` int64) of each value among those allowed."""
    for value in values.unique():
        if value not in allowed:
            near = get_close_matches(str(value), allowed, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"trials: {column} {value!r} is not one of {list(allowed)}, did you mean {near!r}?"
            )
    return np.array([allowed.index(value) for value in values], dtype=np.int64)
