"""Files that are whole or as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from admire_pipeline.disk import save_atomically, write_atomically


def test_a_save_that_fails_leaves_the_old_file_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    write_atomically(path, "old")

    def fail(aside: Path) -> None:
        assert aside.suffix == ".csv", "the ending says the format"
        aside.write_text("ne")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        save_atomically(path, fail)
    assert [found.name for found in path.parent.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    seen = []

    def save(aside: Path) -> None:
        aside.write_text("new")
        seen.append(path.read_text())

    save_atomically(path, save)
    assert (seen, path.read_text()) == (["old"], "new")


def test_two_who_save_one_file_do_not_meet(tmp_path: Path) -> None:
    """As two containers on one volume, whose processes have the same id."""
    path = tmp_path / "table.csv"

    def save(aside: Path) -> None:
        aside.write_text("one's")
        write_atomically(path, "another's")
        assert aside.read_text() == "one's"

    save_atomically(path, save)
    assert path.read_text() == "one's"
    assert [found.name for found in path.parent.iterdir()] == ["table.csv"]
