"""Damage as disks and copies do it: a file that is cut short, a bit that is flipped."""

from __future__ import annotations

import random
from pathlib import Path

KINDS = ("truncated", "flipped")


def damage(path: Path, kind: str, chance: random.Random) -> None:
    """Damage a file at a random place."""
    content = bytearray(path.read_bytes())
    place = chance.randrange(len(content))
    if kind == "truncated":
        del content[place:]
    else:
        content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
