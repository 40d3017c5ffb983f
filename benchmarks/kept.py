"""Campaigns that a benchmark has finished, in one file: to carry them from machine to machine.

    python benchmarks/kept.py pack data/08_reporting/benchmark/tulu-simulator [FOLDER]
    python benchmarks/kept.py unpack [FOLDER] [--reports data/08_reporting/benchmark]
    python benchmarks/kept.py renew --before CHECKOUT [FOLDER] [--share 0.1] [--trials 20]

A benchmark keeps each finished campaign in a file of its own, in `jobs/`, and so goes on where it
was stopped. Some take hours: `pack` adds those of a benchmark to the file of its name in a folder
(`benchmarks/results` if none is given), and `unpack` puts those of all files there where
`make benchmark` and `make ablation` look for them, next to what has been run here; what older code
has run here gives way to what today's has. What other code has run than that of today is run again
there (`benchmark.redo`).

`renew` is for a change of the code that is to change no result. Of the campaigns that the code of
another checkout has run (`git worktree add CHECKOUT REVISION`) it runs a share again, at least
three of a policy in each file, with that code and with today's, to the end or for so many trials
(`--trials`). Where every step is the same, to the last bit, all of them count as run by the code of
today; else none, and it says which differ. What is kept is not compared: another processor may have
run it, whose last bits are others. Both find the same fits of simulators, which
`replay.emulator.REVISION` tells apart. What other code has run, or with a `max_trials`, is left as
it is.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from admire_pipeline.disk import save_atomically
from admire_pipeline.errors import UserError
from admire_pipeline.pipelines.benchmark.plan import SIMULATORS
from admire_pipeline.replay.jobs import CODE, COLUMNS, CUT, JOBS, Job, Plan, code_of, run_job
from admire_pipeline.replay.problem import PoolProblem
from admire_pipeline.replay.published import DOWNLOADS, READERS
from admire_pipeline.replay.runner import run_tasks
from admire_pipeline.replay.synthetic import PREFIX, made_up_table
from admire_pipeline.replay.table import RunTable

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REPORTS = ROOT / "data" / "08_reporting" / "benchmark"
FILE = "file"
"""Column with the name of a campaign's own file, which says all that decides its result."""
DIGITS = {"propose_seconds": 4, "recommend_seconds": 4}
"""Decimals of a column: most of a file would else be digits of seconds that no clock repeats."""
DECISIVE = [name for name in COLUMNS if name not in DIGITS]
LEAST = 3


def pack(benchmark: Path, folder: Path) -> None:
    """Add the finished campaigns of a benchmark's folder to the file of its name.

    Of a campaign that both have, the file holds the benchmark's from then on, but for what today's
    code has run and the benchmark's had not.
    """
    kept = folder / f"{benchmark.name}.parquet"
    frames = {
        path.name: pd.read_parquet(path).assign(**{FILE: path.name})
        for path in (benchmark / JOBS).glob("[!.]*.parquet")
    }
    if kept.exists():
        for key, frame in pd.read_parquet(kept).groupby(FILE):
            name = str(key)
            if name not in frames or _replaces(frame, frames[name]):
                frames[name] = frame
    if not frames:
        raise SystemExit(f"{benchmark / JOBS}: no campaign has been finished there")
    folder.mkdir(parents=True, exist_ok=True)
    _write(frames, kept)
    print(f"{len(frames)} campaigns in {kept}")  # noqa: T201


def unpack(folder: Path, reports: Path) -> None:
    """Put the campaigns of each file into the benchmark of its name, but for those that are there.

    Of those that are, today's code replaces what other code has run.

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
            if not path.exists() or _replaces(frame, pd.read_parquet(path, columns=[CODE])):
                own = frame.drop(columns=FILE)
                save_atomically(path, partial(own.to_parquet, index=False))
        print(f"{len(campaigns)} campaigns of {kept} in {jobs}")  # noqa: T201


def renew(folder: Path, before: Path, share: float, trials: int | None, processes: int) -> bool:
    """Renew the campaigns of older code whose policies still give the same results.

    Args:
        folder: Of the files.
        before: A checkout of the older code.
        share: Of the campaigns to run again, of each policy and older code in a file.
        trials: So many of each campaign; None: all.
        processes: To run them on, one thread each.

    Returns:
        Whether all are renewed.
    """
    return all(
        [
            _renew_file(kept, before, share, trials, processes)
            for kept in sorted(folder.glob("*.parquet"))
        ]
    )


@dataclass(frozen=True)
class _Older:
    """Campaigns of a policy in a file that the same older code has run.

    Attributes:
        policy: Its name.
        names: Of the campaigns' own files.
        sample: Those of them that are run again.
        today: The fingerprint of today's code.
    """

    policy: str
    names: list[str]
    sample: list[str]
    today: str


def _renew_file(kept: Path, before: Path, share: float, trials: int | None, processes: int) -> bool:
    frames = {str(name): frame for name, frame in pd.read_parquet(kept).groupby(FILE)}
    older, whole = _find_older(kept, frames, share)
    if not older:
        return whole
    sampled = {name: group for group in older for name in group.sample}
    try:
        then = _run_again([frames[name] for name in sampled], before, trials, processes)
        renewed = [frames[name].assign(**{CODE: sampled[name].today}) for name in then]
        now = _run_again(renewed, ROOT, trials, processes)
    except UserError as error:
        print(f"{kept.name}: left as it is: {error}")  # noqa: T201
        return False
    for group in older:
        sample = group.sample
        about = f"{kept.name}, {group.policy}: {len(sample)} of {len(group.names)} run again"
        if not all(name in then for name in sample):
            whole = False
            print(f"{kept.name}, {group.policy}: left as it is: not run by {before}")  # noqa: T201
        elif other := [name for name in sample if not now[name].equals(then[name])]:
            whole = False
            print(f"{about}, none renewed; other steps: {', '.join(other)}")  # noqa: T201
        else:
            for name in group.names:
                frames[name] = frames[name].assign(**{CODE: group.today})
            _write(frames, kept)
            print(f"{about}, the same; all renewed")  # noqa: T201
    return whole


def _find_older(
    kept: Path, frames: dict[str, pd.DataFrame], share: float
) -> tuple[list[_Older], bool]:
    """Return what older code has run and today's can run again, and whether that is all of it."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, frame in frames.items():
        if not frame[CUT].any():
            groups.setdefault((frame["policy"].iloc[0], frame[CODE].iloc[0]), []).append(name)
    older, whole = [], True
    for (policy, code), names in groups.items():
        try:
            if (today := _code(frames[names[0]])) != code:
                sample = _sample(names, share, today)
                _check_names([frames[name] for name in sample])
                older.append(_Older(policy, names, sample, today))
        except UserError as error:
            whole = False
            print(f"{kept.name}, {policy}: left as it is: {error}")  # noqa: T201
    return older, whole


def _replaces(frame: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Tell whether today's code has run a kept campaign, and other code the one that is there."""
    return bool(frame[CODE].iloc[0] != other[CODE].iloc[0]) and _is_mine(frame)


def _write(frames: dict[str, pd.DataFrame], kept: Path) -> None:
    together = pd.concat([frames[name] for name in sorted(frames)], ignore_index=True).round(DIGITS)
    write = partial(together.to_parquet, compression="zstd", compression_level=19, index=False)
    save_atomically(kept, write)


def _code(frame: pd.DataFrame) -> str:
    """Return the fingerprint of today's code that decides a campaign."""
    plan, job = _plan(frame, Path())
    policy = plan.make_policy(job.policy, PoolProblem(plan.table_of(job), job.objective))
    return code_of(policy, plan.problem)


def _sample(names: list[str], share: float, code: str) -> list[str]:
    """Choose a share of campaigns, others with each change of the code."""
    number = min(len(names), max(LEAST, math.ceil(share * len(names))))
    return sorted(np.random.default_rng(list(code.encode())).choice(names, number, replace=False))


def _check_names(frames: list[pd.DataFrame]) -> None:
    """Check that today's code would find campaigns by their files' names.

    Raises:
        UserError: If one has another name today.
    """
    for frame in frames:
        plan, job = _plan(frame, Path())
        if plan.path(job).name != frame[FILE].iloc[0]:
            raise UserError(f"{job}: another table, simulator or settings today")


def _run_again(
    frames: list[pd.DataFrame], checkout: Path, trials: int | None, processes: int
) -> dict[str, pd.DataFrame]:
    """Return the steps of campaigns as the code of a checkout makes them, in another interpreter.

    Raises:
        UserError: If a campaign fails. Those that other code has run are left out.
    """
    if not (checkout / "src" / "admire_pipeline").is_dir():
        raise UserError(f"{checkout}: has no src/admire_pipeline; allowed: a checkout")
    if not frames:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "given.parquet")
        pd.concat(frames).to_parquet(given)
        options = ["again", given, "--out", folder, "--processes", processes]
        options += [] if trials is None else ["--trials", trials]
        environment = os.environ | {"PYTHONPATH": str((checkout / "src").resolve())}
        ended = subprocess.run(  # noqa: S603
            [sys.executable, __file__, *map(str, options)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            said = ended.stderr.strip() or f"ended with {ended.returncode}"
            raise UserError(f"{checkout}: {said.splitlines()[-1]}")
        given.unlink()
        return {
            file.name: pd.read_parquet(file)[DECISIVE] for file in Path(folder).glob("*.parquet")
        }


def again(given: Path, out: Path, trials: int | None, processes: int) -> None:
    """Run those campaigns of a file that this code has run again, each into a file of its name.

    Args:
        given: The file.
        out: The files' folder.
        trials: So many of each campaign; None: all.
        processes: To run them on, one thread each.

    Raises:
        SystemExit: If one fails.
    """
    frames = [frame for _, frame in pd.read_parquet(given).groupby(FILE)]
    frames = [frame for frame in frames if _is_mine(frame)]
    for _, error in run_tasks(partial(_run_one, out, trials), frames, processes):
        if error is not None:
            raise SystemExit(str(error))


def _is_mine(frame: pd.DataFrame) -> bool:
    """Tell whether the code in use has run a kept campaign."""
    try:
        return bool(_code(frame) == frame[CODE].iloc[0])
    except UserError:
        return False  # a table that is not here, or a policy that this code does not have


def _run_one(out: Path, trials: int | None, frame: pd.DataFrame) -> None:
    plan, job = _plan(frame, out)
    plan = replace(plan, max_trials=trials)
    run_job(plan, job)
    plan.path(job).rename(out / frame[FILE].iloc[0])


def _plan(frame: pd.DataFrame, folder: Path) -> tuple[Plan, Job]:
    """Plan a kept campaign anew.

    Raises:
        UserError: If its table is not known by its name.
    """
    about = frame.iloc[0]
    job = Job(about["policy"], about["objective"], int(about["seed"]))
    name = about["table"]
    plan = Plan(
        table=_table(name),
        problem=about["problem"],
        policies=(job.policy,),
        objectives=(job.objective,),
        seeds=(job.seed,),
        budget=float(about["budget"]),
        folder=folder,
        cache=ROOT / SIMULATORS,
        made_up=name.removeprefix(PREFIX) if name.startswith(PREFIX) else None,
    )
    return plan, job


@cache
def _table(name: str) -> RunTable:
    """Read the table of a name, once for all of its campaigns."""
    if name.startswith(PREFIX):
        return made_up_table(name.removeprefix(PREFIX))
    if name not in READERS:
        raise UserError(f"table {name!r} is a file; allowed: {', '.join(READERS)}, made-up ones")
    return READERS[name](ROOT / DOWNLOADS)


def main() -> None:
    """Read the options and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="add a benchmark's campaigns to its file")
    packing.add_argument("benchmark", type=Path, help="its folder")
    unpacking = commands.add_parser("unpack", help="put the campaigns where make looks")
    unpacking.add_argument("--reports", type=Path, default=REPORTS, help="folder of benchmarks")
    renewing = commands.add_parser("renew", help="run a share again; if the same, renew the rest")
    renewing.add_argument("--before", type=Path, required=True, help="a checkout of the older code")
    renewing.add_argument("--share", type=float, default=0.1, help="of each policy's campaigns")
    for command in (packing, unpacking, renewing):
        command.add_argument("folder", type=Path, nargs="?", default=RESULTS, help="of the files")
    running = commands.add_parser("again", help="run a file's campaigns again (renew does)")
    running.add_argument("given", type=Path, help="the file")
    running.add_argument("--out", type=Path, required=True, help="folder of what comes of it")
    for command in (renewing, running):
        command.add_argument("--trials", type=int, help="of each campaign; all if not given")
        command.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.command == "pack":
        pack(args.benchmark, args.folder)
    elif args.command == "unpack":
        unpack(args.folder, args.reports)
    elif args.command == "again":
        again(args.given, args.out, args.trials, args.processes)
    elif not renew(args.folder, args.before, args.share, args.trials, args.processes):
        sys.exit(1)


if __name__ == "__main__":
    main()
