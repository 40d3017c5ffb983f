"""Finished runs as tables, and policies replayed on them.

A plain library over ``optimizer`` and ``mixture``: it knows neither Kedro nor MLflow.
"""

from __future__ import annotations

from admire_pipeline.replay.table import RunTable, read_table

__all__ = ["RunTable", "read_table"]
