"""Run tables: finished runs of several sizes, one row a run, in a tidy format anyone can bring.

Columns (``docs/run_tables.md`` has an example):

- ``fidelity``: name of the model size.
- ``cost``: what the run cost, greater than 0, in any unit that is the same for all rows. The sizes
  are ordered by their mean cost; the dearest is the target.
- ``mixture.<domain>``: weight of each domain, in [0, 1], a row's sum 1 up to rounding.
- ``metric.<name>``: each metric; empty where a run lacks it, but never at the target.
- ``metric_se.<name>`` (optional): standard error of that metric, empty where unknown.
- ``split`` (optional): ``pool`` or ``held_out`` (see ``RunTable.pool``).

Other columns are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from admire_pipeline.errors import UserError
from admire_pipeline.optimizer import Fidelity
from admire_pipeline.replay.checks import AVERAGE, checked_runs, read_frame

if TYPE_CHECKING:
    import pandas as pd

Direction = Literal["maximize", "minimize"]
DIRECTIONS = ("maximize", "minimize")
POOL = "pool"
HELD_OUT = "held_out"
SPLITS = (POOL, HELD_OUT)


@dataclass(frozen=True, eq=False)
class RunTable:
    """``n`` finished runs over ``K`` domains with ``P`` metrics, at ``M`` fidelities.

    Attributes:
        name: Name of the table, for reports.
        domains: ``K >= 2`` domain names, in the order of the columns.
        fidelities: ``M`` fidelities from the cheapest to the dearest, which is the target. Costs
            are mean costs in units of the target's: the target costs 1.
        metrics: ``P`` metric names, in the order of the columns.
        frame: ``n`` rows with columns ``fidelity``, ``cost`` (in units of the target's mean cost),
            ``split``, ``mixture.<domain>`` (each row sums to 1), ``metric.<name>`` (as recorded,
            in its own direction) and ``metric_se.<name>`` where given.
        direction: Whether the metrics are to be maximised or minimised.
        groups: Named groups of metrics whose mean is an objective too.
        notes: What was corrected on reading, one sentence each.
    """

    name: str
    domains: tuple[str, ...]
    fidelities: tuple[Fidelity, ...]
    metrics: tuple[str, ...]
    frame: pd.DataFrame
    direction: Direction
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_frame(
        cls,
        name: str,
        frame: pd.DataFrame,
        direction: str,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> RunTable:
        """Check a frame in the tidy format and make a table of it.

        Args:
            name: Name of the table, for reports and messages.
            frame: The runs, see above.
            direction: ``maximize`` or ``minimize``.
            groups: Named groups of metrics.
            notes: What was corrected before.

        Returns:
            The table, rows in the frame's order.

        Raises:
            UserError: One line about the first fault.
        """
        import pandas as pd

        if direction not in DIRECTIONS:
            raise UserError(f"direction: {direction!r} is not one of {list(DIRECTIONS)}")
        runs = checked_runs(name, frame, SPLITS)
        fidelities, unit = _ladder(name, runs.frame)
        tidy = runs.frame.assign(cost=runs.frame["cost"] / unit)
        if "split" not in tidy:
            tidy.insert(2, "split", POOL)
        target = tidy[tidy["fidelity"] == fidelities[-1].name]
        for metric in runs.metrics:
            lacking = target[f"metric.{metric}"].isna()
            if lacking.any():
                raise UserError(
                    f"{name}: metric.{metric} is missing in row {target.index[lacking][0] + 1}; "
                    f"allowed: runs of the target {fidelities[-1].name!r} have every metric"
                )
        if not (target["split"] == POOL).any():
            raise UserError(
                f"{name}: split leaves no run of the target {fidelities[-1].name!r} in the pool; "
                f"allowed: at least one row with {POOL!r}"
            )
        for group, members in (groups or {}).items():
            if unknown := sorted(set(members) - set(runs.metrics)):
                raise UserError(f"{name}: group {group!r} names no metric {unknown[0]!r}")
        return cls(
            name,
            runs.domains,
            fidelities,
            runs.metrics,
            pd.DataFrame(tidy),
            "maximize" if direction == "maximize" else "minimize",
            dict(groups or {}),
            (*notes, *runs.notes),
        )

    def rows(self, fidelity: int | str) -> np.ndarray:
        """Positions (``n_m`` int64) in ``frame`` of the runs at a fidelity (position or name)."""
        name = fidelity if isinstance(fidelity, str) else self.fidelities[fidelity].name
        if name not in [known.name for known in self.fidelities]:
            raise ValueError(f"fidelity: {name!r} is not one of {self.fidelities}")
        return np.flatnonzero((self.frame["fidelity"] == name).to_numpy())

    def mixtures(self, fidelity: int | str) -> np.ndarray:
        """Mixtures (``n_m x K``) of the runs at a fidelity."""
        columns = [f"mixture.{domain}" for domain in self.domains]
        return self.frame[columns].to_numpy(dtype=np.float64)[self.rows(fidelity)]

    def values(self, fidelity: int | str) -> np.ndarray:
        """Metrics (``n_m x P``, as recorded) of the runs at a fidelity, NaN where one lacks it."""
        columns = [f"metric.{metric}" for metric in self.metrics]
        return self.frame[columns].to_numpy(dtype=np.float64)[self.rows(fidelity)]

    def errors(self, fidelity: int | str) -> np.ndarray:
        """Standard errors of the metrics (``n_m x P``) of the runs at a fidelity, NaN: unknown."""
        columns = [f"metric_se.{metric}" for metric in self.metrics]
        return self.frame.reindex(columns=columns).to_numpy(np.float64)[self.rows(fidelity)]

    def pool(self, fidelity: int | str) -> np.ndarray:
        """Which of the runs at a fidelity a policy may try: ``n_m`` booleans, true where it may.

        Those whose ``split`` is ``held_out`` may not: they serve to fit a simulator or to measure
        how well a surrogate predicts. Without a column ``split`` all may be tried.
        """
        return (self.frame["split"] == POOL).to_numpy()[self.rows(fidelity)]

    def objectives(self) -> dict[str, dict[str, float]]:
        """Each objective as weights of metrics whose weighted sum is to be maximised.

        First ``average`` (the mean of all metrics), then the mean of each group, then each metric
        alone, by its name; the weights are negative where less is better.
        """
        sign = 1.0 if self.direction == "maximize" else -1.0
        members = {AVERAGE: self.metrics, **self.groups, **{m: (m,) for m in self.metrics}}
        return {name: dict.fromkeys(of, sign / len(of)) for name, of in members.items()}


def read_table(path: str | Path, direction: str) -> RunTable:
    """Read a run table from a file.

    Args:
        path: A CSV (``.csv``) or Parquet (``.parquet``) file in the tidy format.
        direction: Whether its metrics are to be maximised (``maximize``) or ``minimize``d.

    Returns:
        The table, named by the file's stem.

    Raises:
        UserError: One line about the first fault.
    """
    path = Path(path)
    return RunTable.from_frame(path.stem, read_frame(path), direction)


def _ladder(name: str, frame: pd.DataFrame) -> tuple[tuple[Fidelity, ...], float]:
    """The fidelities by mean cost, and the target's mean cost in the table's unit."""
    means = {}
    for fidelity, costs in frame.groupby("fidelity", sort=False)["cost"]:
        # A mean of equal numbers may be off by a rounding error, which would show in every report.
        means[str(fidelity)] = float(costs.iloc[0] if costs.nunique() == 1 else costs.mean())
    order = sorted(means, key=means.__getitem__)
    for cheaper, dearer in zip(order, order[1:], strict=False):
        if np.isclose(means[cheaper], means[dearer], rtol=1e-9, atol=0):
            raise UserError(
                f"{name}: fidelities {cheaper!r} and {dearer!r} cost the same on average "
                f"({means[dearer]:g}); allowed: different mean costs, which order them"
            )
    unit = means[order[-1]]
    return tuple(Fidelity(fidelity, means[fidelity] / unit) for fidelity in order), unit
