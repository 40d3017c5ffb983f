"""What a benchmark runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PUBLISHED = ("pile", "tulu")
"""Tables that are found or downloaded by their name."""

MADE_UP = tuple(
    f"made-up-{how}{told}" for how in ("", "cheap-") for told in ("noise", "reversed", "transfer")
)
"""Tables that are made up."""

MAX_SEEDS = 1000

_DIGITS = re.compile("[0-9]+")


def _names(value: Any) -> Any:
    """A list as it is, or the parts of `a,b`."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple) and not (value and all(isinstance(v, str) for v in value)):
        raise ValueError(f"{value!r} is not allowed; allowed: at least one name, as in `a,b`")
    return value


def _table(value: Any) -> Any:
    if value == "":
        names = ", ".join((*PUBLISHED, *MADE_UP))
        raise ValueError(f"'' is not allowed; allowed: {names}, or a .csv or .parquet file")
    return value


def _out(value: Any) -> Any:
    if value == "":
        raise ValueError("'' is not allowed; allowed: a folder, or null")
    return value


def _seeds(value: Any) -> Any:
    """A list as it is, or the numbers of `0-4,7`."""
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        return value
    seeds: list[int] = []
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if not _DIGITS.fullmatch(first) or (dash and not _DIGITS.fullmatch(last)):
            raise ValueError(
                f"{value!r} is not allowed; allowed: numbers and ranges, as in `0-4,7`"
            )
        begin, end = int(first), int(last if dash else first)
        if not 0 <= end - begin < MAX_SEEDS:
            raise ValueError(
                f"{value!r} is not allowed; allowed: ascending ranges of at most {MAX_SEEDS} seeds"
            )
        seeds += range(begin, end + 1)
    return seeds


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Seeds = Annotated[
    tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1, max_length=MAX_SEEDS)
]


class BenchmarkSettings(BaseModel):
    """Which policies are replayed on which runs; what is null depends on the table."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    table: Annotated[str, BeforeValidator(_table)]
    """`pile`, `tulu`, a made-up one, or a file in the tidy format."""
    problem: Literal["pool", "simulator"] = "pool"
    """Replay of the table's runs, or functions drawn from a surrogate fitted to them."""
    policies: Names | None = None
    """Names; null: all that there are."""
    objectives: Names | None = None
    """Names; null: all of the table."""
    seeds: Seeds | None = None
    """As a list, or as `0-4`; null: 0 to 4."""
    budget: float | None = Field(default=None, gt=0, strict=True)
    """Of each campaign, in trainings of the target; null: 15."""
    max_trials: int | None = Field(default=None, gt=0, strict=True)
    """Most trials of a campaign; null: as many as the budget pays for."""
    direction: Literal["maximize", "minimize"] | None = None
    """Of a file's metrics; null: maximize, and refused where one has the name of a loss."""
    out: Annotated[Path | None, BeforeValidator(_out)] = None
    """Folder of the results; null: by the table's name under data/08_reporting/benchmark."""
    quick: bool = False
    """Whether what is null is small: a look within 5 minutes, not a result."""
    processes: int | None = Field(default=None, gt=0, strict=True)
    """Of one thread each; null: as many as there are cores to run on."""
    redo: bool = False
    """Whether finished campaigns are run again where their code has changed since."""
