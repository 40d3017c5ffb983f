"""A campaign's evaluated trials as a run table (docs/run_tables.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.disk import save_atomically
from admire_pipeline.errors import UserError
from admire_pipeline.tracking import Trial, TrialStatus

if TYPE_CHECKING:
    import pandas as pd

RUNS_FILE = Path("data/08_reporting/runs.parquet")
"""Where the table goes by default, within the project."""


def tabulate_runs(trials: Sequence[Trial], campaign: str) -> pd.DataFrame:
    """The observed trials, one row each, oldest first.

    Args:
        trials: The history.
        campaign: Name of the campaign, for messages.

    Returns:
        Columns `trial` (its name), `fidelity`, `cost` (in the campaign's unit), `score`,
        `score_se`, `mixture.<domain>`, `metric.<name>`, `metric_se.<name>`; NaN where a standard
        error is not known.

    Raises:
        UserError: If no trial has been evaluated.
    """
    import pandas as pd

    observed = [trial for trial in trials if trial.status is TrialStatus.OBSERVED]
    if not observed:
        raise UserError(
            f"campaign {campaign!r} has no evaluated trial; run "
            "`kedro run --pipelines=admire_step` first"
        )
    parts = {
        "mixture": [trial.mixture for trial in observed],
        "metric": [trial.metrics for trial in observed],
        "metric_se": [trial.metric_errors for trial in observed],
    }
    named = [
        pd.DataFrame([dict(values) for values in part]).add_prefix(f"{prefix}.")
        for prefix, part in parts.items()
    ]
    fields = ("fidelity", "cost", "score")
    frame = pd.DataFrame([{field: getattr(trial, field) for field in fields} for trial in observed])
    frame.insert(0, "trial", [trial.name for trial in observed])
    frame["score_se"] = pd.Series([t.score_standard_error for t in observed], dtype="float64")
    named[0] = named[0].fillna(0.0)
    return pd.concat([frame, *named], axis=1)


def write_runs(runs: pd.DataFrame, path: Path) -> None:
    """Write a run table, whole or not at all; floats read back bit for bit.

    Args:
        runs: The table.
        path: A `.csv` or `.parquet` file.

    Raises:
        UserError: If the file's name ends otherwise.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out: {str(path)!r} is not allowed; allowed: a .csv or .parquet file")
    save = runs.to_csv if path.suffix == ".csv" else runs.to_parquet
    save_atomically(path, lambda aside: save(aside, index=False))
