"""A file that is as it was written is told from any other."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from admire_pipeline.integrity import (
    DamagedError,
    check_files,
    check_kept,
    checksum,
    keep_checksum,
    read_sealed,
    write_sealed,
)
from tests.damage import KINDS, damage

CONTENT = {"score": 0.1 + 0.2, "none": None, "names": ["ä", "b"], "inner": {"nan": math.inf}}


def test_sealed_file_is_plain_json_and_reads_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_sealed(path, CONTENT)
    assert read_sealed(path) == CONTENT
    assert json.loads(path.read_text())["score"] == 0.1 + 0.2
    write_sealed(path, {"by number": {10: ("a",), 9: "b"}})
    assert read_sealed(path) == {"by number": {"10": ["a"], "9": "b"}}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_a_sealed_file_is_told_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file.json"
    chance = random.Random(0)
    told = 0
    for _ in range(300):
        write_sealed(path, CONTENT)
        damage(path, kind, chance)
        try:
            # White space between the values is all that may differ.
            assert read_sealed(path) == CONTENT
        except DamagedError as error:
            assert str(error) == "file.json does not hold what was written to it"
            told += 1
    assert told > 200


@pytest.mark.parametrize("text", ["", "[]", "{}", "1", '{"score": 1}', '{"checksum": 5}'])
def test_file_that_is_not_sealed(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(DamagedError):
        read_sealed(tmp_path / "file.json")


def test_checksums_of_files(tmp_path: Path) -> None:
    names = ("a", "b/c")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 1000)
    sums = {name: checksum(tmp_path / name) for name in names}
    check_files(tmp_path, sums)
    damage(tmp_path / "b/c", "flipped", random.Random(0))
    with pytest.raises(DamagedError, match="b/c does not hold what was written to it"):
        check_files(tmp_path, sums)
    (tmp_path / "a").unlink()
    with pytest.raises(DamagedError, match="a is missing"):
        check_files(tmp_path, sums)


def test_checksum_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(DamagedError, match=r"file\.txt is missing"):
        check_kept(path)
    path.write_text("what is written")
    with pytest.raises(DamagedError, match=r"file\.txt does not hold"):
        check_kept(path)
    keep_checksum(path)
    check_kept(path)
    for name in ("file.txt", ".file.txt.checksum"):
        before = (tmp_path / name).read_bytes()
        damage(tmp_path / name, "flipped", random.Random(6))
        with pytest.raises(DamagedError, match=r"file\.txt does not hold"):
            check_kept(path)
        (tmp_path / name).write_bytes(before)
    check_kept(path)
