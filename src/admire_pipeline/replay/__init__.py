"""Finished runs as tables, and policies replayed on them.

A plain library over ``optimizer`` and ``mixture``: it knows neither Kedro nor MLflow.
"""

from __future__ import annotations

from admire_pipeline.replay.published import READERS, read_pile, read_tulu
from admire_pipeline.replay.table import RunTable, read_table

__all__ = ["READERS", "RunTable", "read_pile", "read_table", "read_tulu"]
