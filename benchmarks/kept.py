"""Campaigns that a benchmark has finished, in one file: to carry them from machine to machine.

    python benchmarks/kept.py pack data/08_reporting/benchmark/tulu-simulator [FOLDER]
    python benchmarks/kept.py unpack [FOLDER] [--reports data/08_reporting/benchmark]

A benchmark keeps each finished campaign in a file of its own, in `jobs/`, and so goes on where it
was stopped. Some take hours: `pack` adds those of a benchmark to the file of its name in a folder
(`benchmarks/results` if none is given), and `unpack` puts those of all files there where
`make benchmark` looks for them, next to what has been run here. What other code has run than that
of today is run again there (`benchmark.redo`).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import pandas as pd

from admire_pipeline.disk import save_atomically
from admire_pipeline.replay.jobs import JOBS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REPORTS = ROOT / "data" / "08_reporting" / "benchmark"
FILE = "file"
"""Column with the name of a campaign's own file, which says all that decides its result."""
DIGITS = {"propose_seconds": 4, "recommend_seconds": 4}
"""Decimals of a column: most of a file would else be digits of seconds that no clock repeats."""


def pack(benchmark: Path, folder: Path) -> None:
    """Add the finished campaigns of a benchmark's folder to the file of its name.

    Of a campaign that both have, the file holds the benchmark's from then on.
    """
    kept = folder / f"{benchmark.name}.parquet"
    frames = {
        path.name: pd.read_parquet(path).assign(**{FILE: path.name})
        for path in (benchmark / JOBS).glob("[!.]*.parquet")
    }
    if kept.exists():
        for name, frame in pd.read_parquet(kept).groupby(FILE):
            frames.setdefault(str(name), frame)
    if not frames:
        raise SystemExit(f"{benchmark / JOBS}: no campaign has been finished there")
    together = pd.concat([frames[name] for name in sorted(frames)], ignore_index=True).round(DIGITS)
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(together.to_parquet, compression="zstd", compression_level=19, index=False)
    save_atomically(kept, write)
    print(f"{len(frames)} campaigns in {kept}")  # noqa: T201


def unpack(folder: Path, reports: Path) -> None:
    """Put the campaigns of each file into the benchmark of its name, but for those that are there.

    Args:
        folder: Of the files.
        reports: Of the benchmarks.
    """
    for kept in sorted(folder.glob("*.parquet")):
        jobs = reports / kept.stem / JOBS
        jobs.mkdir(parents=True, exist_ok=True)
        campaigns = pd.read_parquet(kept).groupby(FILE, sort=False)
        for name, frame in campaigns:
            path = jobs / Path(str(name)).name
            if not path.exists():
                own = frame.drop(columns=FILE)
                save_atomically(path, partial(own.to_parquet, index=False))
        print(f"{len(campaigns)} campaigns of {kept} in {jobs}")  # noqa: T201


def main() -> None:
    """Read the options, pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="add a benchmark's campaigns to its file")
    packing.add_argument("benchmark", type=Path, help="its folder")
    unpacking = commands.add_parser("unpack", help="put the campaigns where make benchmark looks")
    unpacking.add_argument("--reports", type=Path, default=REPORTS, help="folder of benchmarks")
    for command in (packing, unpacking):
        command.add_argument("folder", type=Path, nargs="?", default=RESULTS, help="of the files")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments.benchmark, arguments.folder)
    else:
        unpack(arguments.folder, arguments.reports)


if __name__ == "__main__":
    main()
