"""Files of a campaign that its workers share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from admire_pipeline.tracking.catalog import WholeFileDataset


def table(path: Path) -> WholeFileDataset:
    return WholeFileDataset(str(path), {"type": "pandas.ParquetDataset"})


def test_a_worker_loads_what_it_has_saved_whatever_others_have_since(tmp_path: Path) -> None:
    """A file that is replaced while it is read is damaged to the reader."""
    path = tmp_path / "trials.parquet"
    (ours := table(path)).save(pd.DataFrame({"trial": [1]}))
    table(path).save(pd.DataFrame({"trial": [1, 2]}))
    assert list(ours.load()["trial"]) == [1]
    path.write_bytes(b"neither the old nor the new")
    assert list(ours.load()["trial"]) == [1]


def test_what_was_saved_may_be_empty(tmp_path: Path) -> None:
    """As the recommendation, while nothing is known."""
    path = tmp_path / "recommendation.json"
    (ours := WholeFileDataset(str(path), {"type": "json.JSONDataset"})).save({})
    path.write_text("another's")
    assert ours.load() == {}


def test_another_process_loads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    assert not table(path).exists()
    table(path).save(pd.DataFrame({"trial": [1]}))
    assert table(path).exists()
    assert list(table(path).load()["trial"]) == [1]
