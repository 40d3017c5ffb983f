"""Faults by force: tests marked `chaos`, their short and full form, and the table they fill.

`make test` runs the short form. `make chaos` runs the full one, prints the table and writes it to
`data/08_reporting/chaos.csv` (docs/reliability.md).
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TABLE = Path("data/08_reporting/chaos.csv")
"""Within the project."""


@dataclass
class Fault:
    """What so many tries of one fault have led to.

    Attributes:
        name: What is done.
        tries: How often.
        lost: Trials, or parts of a training, that were paid for and are gone.
        duplicated: Trials that were paid for twice, or stand twice in the history.
        seconds: From the end of the fault, or the start of the command that mends it, until all is
            as without it.
    """

    name: str
    tries: int = 0
    lost: int = 0
    duplicated: int = 0
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def recovering(self) -> Iterator[None]:
        """One try: times its recovery; one that fails is not counted."""
        began = time.monotonic()
        yield
        self.seconds.append(time.monotonic() - began)
        self.tries += 1

    def row(self) -> list[str]:
        """As a row of the table."""
        known = bool(self.seconds)
        median = f"{statistics.median(self.seconds):.1f}" if known else "-"
        worst = f"{max(self.seconds):.1f}" if known else "-"
        return [self.name, str(self.tries), str(self.lost), str(self.duplicated), median, worst]


HEADER = ["fault", "tries", "lost", "duplicated", "median s to recover", "worst"]


class Chaos:
    """The faults of a session.

    Args:
        full: Whether the full form was asked for.
    """

    def __init__(self, full: bool) -> None:
        self.full = full
        self.faults: list[Fault] = []

    def fault(self, name: str) -> Fault:
        """A new row of the table."""
        self.faults.append(Fault(name))
        return self.faults[-1]


def table(faults: Sequence[Fault]) -> str:
    """The faults as a Markdown table."""
    rows = [HEADER, ["---"] * len(HEADER), *(fault.row() for fault in faults)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_table(faults: Sequence[Fault], path: Path) -> None:
    """Write the faults as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *(fault.row() for fault in faults)])
