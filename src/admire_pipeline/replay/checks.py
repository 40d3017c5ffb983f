"""Files and frames of finished runs, checked row by row; every fault is one line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from admire_pipeline.errors import UserError, suggest, suggest_nearest
from admire_pipeline.names import is_printable, printable
from admire_pipeline.optimizer.trials import METRIC_ERROR_PREFIX, METRIC_PREFIX, MIXTURE_PREFIX

if TYPE_CHECKING:
    import pandas as pd

AVERAGE = "average"
"""The objective that is the mean of all metrics; no metric may have its name."""
ALL = "(mean)"
"""What a report calls the mean over all objectives; no metric may have its name either."""
SUM_TOLERANCE = 0.01
"""Recorded weights are rounded; a sum farther from 1 than this is a mistake."""
LONGEST = 200
"""Characters of the name of a domain, a metric or a fidelity."""
EXACT = 1e-9
"""Sums nearer to 1 than this are left as they are, so that a mixture keeps its bits."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs that have passed the checks of single rows.

    Attributes:
        domains: ``K`` domain names.
        metrics: ``P`` metric names.
        frame: Columns ``fidelity``, ``cost``, ``split`` (where given), ``mixture.*`` (rows sum to
            1), ``metric.*``, ``metric_se.*`` (where given); index 0 to ``n - 1``.
        notes: What was corrected.
    """

    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    frame: pd.DataFrame
    notes: tuple[str, ...]


def read_frame(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file, floats bit for bit.

    Raises:
        UserError: If it cannot be read, or names a column twice.
    """
    import pandas as pd
    from pyarrow import ArrowException

    def read(**options: Any) -> pd.DataFrame:
        return pd.read_csv(path, encoding="utf-8-sig", index_col=False, **options)

    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: not a run table by its name; allowed: .csv or .parquet")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        names = read(header=None, nrows=1, dtype=str)
        if (twice := names.iloc[0][names.iloc[0].duplicated()]).size:
            raise UserError(f"{path}: column {twice.iloc[0]!r} occurs twice; allowed: once")
        if names.shape[1] == 1 and (other := {";", "\t"} & set(str(names.iloc[0, 0]))):
            raise UserError(f"{path}: columns are separated by {other.pop()!r}; allowed: commas")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read(float_precision="round_trip")
        # A size may be called NA, or 1.
        text = [name for name in ("fidelity", "split") if name in frame]
        return frame.assign(**read(usecols=text, dtype=str, keep_default_na=False))
    except pd.errors.ParserWarning:
        reason = "rows have more fields than the header"
    except (OSError, ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split())
    except UnicodeDecodeError:
        reason = "not UTF-8 text"
    raise UserError(f"{path}: cannot be read as a run table ({reason})")


def checked_runs(name: str, frame: pd.DataFrame, splits: Sequence[str]) -> Runs:
    """Check every column and row, and renormalise rounded weights.

    Args:
        name: Of the table, for messages.
        frame: In the tidy format.
        splits: Allowed values of ``split``.

    Raises:
        UserError: One line about the first fault; rows are counted from 1.
    """
    import pandas as pd

    has = f"the table has {printable(', '.join(map(str, frame.columns)))}"
    for column in ("fidelity", "cost"):
        if column not in frame.columns:
            near = suggest_nearest(column, map(str, frame.columns))
            raise UserError(f"{name}: column {column!r} is missing; {near}{has}")
    if frame.empty:
        raise UserError(f"{name}: has no rows; allowed: at least one run")
    domains = _named(frame, MIXTURE_PREFIX)
    metrics = _named(frame, METRIC_PREFIX)
    if len(domains) < 2:
        raise UserError(
            f"{name}: has {len(domains)} columns {MIXTURE_PREFIX}<domain>; allowed: at least 2; "
            f"{has}"
        )
    if not metrics:
        raise UserError(f"{name}: has no column {METRIC_PREFIX}<name>; allowed: at least 1; {has}")
    for of in _named(frame, METRIC_ERROR_PREFIX):
        if of not in metrics:
            raise UserError(
                f"{name}: {METRIC_ERROR_PREFIX}{of} is of no metric; {suggest(of, metrics)}"
            )
    if taken := sorted({AVERAGE, ALL} & set(metrics)):
        raise UserError(
            f"{name}: {METRIC_PREFIX}{taken[0]} has the name of a mean that is reported; "
            "allowed: any other name"
        )
    tidy = pd.DataFrame({"fidelity": _texts(name, frame["fidelity"])})
    for named in (*domains, *metrics, *tidy["fidelity"].unique()):
        if len(named) > LONGEST or not is_printable(named):
            raise UserError(
                f"{name}: the name {printable(named)[:LONGEST]!r} is too long or not to be shown; "
                f"allowed: up to {LONGEST} printable characters"
            )
    tidy["cost"] = _numbers(name, frame["cost"], "greater than 0", low=0.0, above=True)
    if "split" in frame:
        tidy["split"] = _texts(name, frame["split"], splits)
    mixtures = {
        column: _numbers(name, frame[column], "a weight in [0, 1]", low=0.0, high=1 + SUM_TOLERANCE)
        for column in (MIXTURE_PREFIX + domain for domain in domains)
    }
    weights, notes = _renormalised(name, np.column_stack(list(mixtures.values())))
    values = {
        column: _numbers(name, frame[column], "a finite number, or empty", empty=True)
        for column in (METRIC_PREFIX + metric for metric in metrics)
    }
    values |= {
        column: _numbers(name, frame[column], "a number, at least 0, or empty", low=0.0, empty=True)
        for column in (METRIC_ERROR_PREFIX + metric for metric in metrics)
        if column in frame.columns
    }
    parts = [tidy, pd.DataFrame(weights, columns=list(mixtures)), pd.DataFrame(values)]
    used = pd.concat(parts, axis=1)
    if unused := [str(column) for column in frame.columns if column not in used]:
        notes = (*notes, f"Columns that are not used: {printable(', '.join(unused))}.")
    return Runs(domains, metrics, used, notes)


def _named(frame: pd.DataFrame, prefix: str) -> tuple[str, ...]:
    """What follows the prefix in the names of columns."""
    names = [str(column) for column in frame.columns if str(column).startswith(prefix)]
    return tuple(name.removeprefix(prefix) for name in names if name != prefix)


def _texts(name: str, column: pd.Series, allowed: Sequence[str] = ()) -> np.ndarray:
    if (empty := np.flatnonzero(column.isna() | (column == ""))).size:
        valid = ", ".join(allowed) or "a name"
        raise UserError(f"{name}: {column.name} is empty in row {empty[0] + 1}; allowed: {valid}")
    texts = column.astype(str).to_numpy(dtype=object)
    for row, text in enumerate(texts):
        if allowed and text not in allowed:
            raise UserError(
                f"{name}: {column.name} {text!r} in row {row + 1}; {suggest(text, allowed)}"
            )
    return np.asarray(texts)


def _numbers(  # noqa: PLR0913
    name: str,
    column: pd.Series,
    allowed: str,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    above: bool = False,
    empty: bool = False,
) -> np.ndarray:
    """The column as ``n`` float64, all in ``[low, high]`` (``above``: greater than ``low``)."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    good = np.isfinite(numbers) & (numbers <= high)
    good &= (numbers > low) if above else (numbers >= low)
    if empty:
        good |= column.isna().to_numpy()
    if (bad := np.flatnonzero(~good)).size:
        value = column.iloc[bad[0]]
        shown = "empty" if pd.isna(value) else value
        raise UserError(f"{name}: {column.name} is {shown} in row {bad[0] + 1}; allowed: {allowed}")
    return np.asarray(numbers)


def _renormalised(name: str, weights: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (``n x K``) whose rows sum to 1, and what was done."""
    sums = weights.sum(axis=1)
    off = np.abs(sums - 1)
    if (bad := np.flatnonzero(off > SUM_TOLERANCE)).size:
        raise UserError(
            f"{name}: the {MIXTURE_PREFIX}* weights of row {bad[0] + 1} sum to {sums[bad[0]]:.6g}; "
            f"allowed: 1, up to {SUM_TOLERANCE:g}"
        )
    rounded = off > EXACT
    if not rounded.any():
        return weights, ()
    note = (
        f"The weights of {rounded.sum()} of {len(weights)} runs were renormalised: they summed to "
        f"1 only within {off.max():.2g}."
    )
    return np.where(rounded[:, None], weights / sums[:, None], weights), (note,)
