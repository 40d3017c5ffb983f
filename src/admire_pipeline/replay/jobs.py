"""What a benchmark consists of: one job a policy, objective and seed, with its file."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from admire_pipeline.disk import save_atomically
from admire_pipeline.optimizer import Policy, PolicySettings
from admire_pipeline.replay import policies
from admire_pipeline.replay.campaign import replay
from admire_pipeline.replay.code import fingerprint, table_hash
from admire_pipeline.replay.problem import PoolProblem, Problem
from admire_pipeline.replay.synthetic import made_up_table
from admire_pipeline.replay.table import RunTable

logger = logging.getLogger(__name__)

COLUMNS = (
    "policy",
    "table",
    "problem",
    "objective",
    "seed",
    "step",
    "cost",
    "fidelity",
    "honest",
    "published",
    "propose_seconds",
    "recommend_seconds",
    "budget",
)
"""Of the curves: one row a step (``campaign.Step``) with what tells the campaigns apart."""

CODE = "code"
"""Column of a job's file: the fingerprint of the code that made it."""

CUT = "cut"
"""Column of a job's file: whether `max_trials` may have ended the campaign before its budget."""

JOBS = "jobs"
"""Folder of the jobs' files in a benchmark's."""


@dataclass(frozen=True)
class Job:
    """One campaign to be replayed."""

    policy: str
    objective: str
    seed: int

    def __str__(self) -> str:
        return f"{self.policy}, {self.objective}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A benchmark: every policy on every objective with every seed.

    Attributes:
        table: The runs.
        problem: ``pool`` or ``simulator``.
        policies: Names.
        objectives: Names.
        seeds: At least 0.
        budget: Of each campaign, in trainings of the target.
        folder: Where the jobs' files go, in ``jobs/``.
        cache: Folder of what the simulators are fitted to, shared between benchmarks.
        max_trials: The most trials of a campaign; None: as many as the budget pays for.
        made_up: Kind of the made-up table, where pools of another one are replayed with each seed.
        settings: Settings of the policies.
    """

    table: RunTable
    problem: str
    policies: tuple[str, ...]
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: float
    folder: Path
    cache: Path
    max_trials: int | None = None
    made_up: str | None = None
    settings: PolicySettings = field(default_factory=PolicySettings)

    def jobs(self) -> list[Job]:
        """All jobs."""
        return [
            Job(policy, objective, seed)
            for policy in self.policies
            for objective in self.objectives
            for seed in self.seeds
        ]

    def make_problem(self, job: Job) -> Problem:
        """The problem of a job."""
        if self.problem == "simulator":
            from admire_pipeline.replay.simulator import SimulatorProblem

            return SimulatorProblem(self.table, job.objective, job.seed, self.cache)
        return PoolProblem(self.table_of(job), job.objective)

    def table_of(self, job: Job) -> RunTable:
        """The runs that a job replays."""
        if self.made_up is None or self.problem != "pool":
            return self.table
        # Another table with each seed: one alone says more of itself than of a policy.
        return made_up_table(self.made_up, seed=job.seed)

    def make_policy(self, name: str, problem: Problem) -> Policy:
        """A policy for a problem."""
        return policies.make(name, self.settings, problem.space.fidelities)

    def path(self, job: Job) -> Path:
        """The file of a job; its name says all that decides the result, but for the code."""
        decisive = {
            **asdict(job),
            "table": table_hash(self.table_of(job)),
            "problem": self.problem,
            "budget": self.budget,
            "max_trials": self.max_trials,
            # A default that changes is a change of code, and a new setting renames no old job.
            "settings": _set(self.settings),
        }
        if job.policy in policies.ABLATIONS:
            decisive["taken back"] = policies.ABLATIONS[job.policy]
        if self.problem == "simulator":
            from admire_pipeline.replay.emulator import REVISION

            decisive["simulator"] = REVISION
        key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
        name = re.sub(r"[^\w.+-]", "_", f"{job.policy}.{job.objective}.{job.seed}")
        # A file's name has 255 bytes at most; the key tells those apart that begin alike.
        return self.folder / JOBS / f"{name.encode()[:150].decode(errors='ignore')}.{key}.parquet"


def read_job(path: Path, columns: list[str] | None = None) -> pd.DataFrame | None:
    """Read columns of a job's file: None where there is none, or a broken one, with a line."""
    try:
        return pd.read_parquet(path, columns=columns)
    except FileNotFoundError:
        return None
    except (OSError, ArrowException):
        logger.warning("%s cannot be read; its campaign counts as not run", path)
        return None


def read_kept(folder: Path, names: Collection[str], seeds: Collection[int]) -> pd.DataFrame:
    """Read the finished campaigns of some policies and seeds, whatever benchmark ran them.

    Args:
        folder: A benchmark's.
        names: Of the policies.
        seeds: Seeds.

    Returns:
        Their curves, columns as ``COLUMNS`` and ``CODE``. Of several of one policy, problem,
        objective, seed and budget (before and after a setting or the table changed) it is the
        latest; campaigns that ``max_trials`` cut are left out.
    """
    found: dict[tuple[object, ...], pd.DataFrame] = {}
    beginnings = tuple(f"{name}." for name in names)
    for path in sorted((folder / JOBS).glob("*.parquet"), key=lambda path: path.stat().st_mtime):
        job, _, seed = path.stem.rpartition(".")[0].rpartition(".")
        if not seed.isdecimal() or int(seed) not in seeds or not job.startswith(beginnings):
            continue
        frame = read_job(path)
        if frame is not None and (CUT not in frame or not frame[CUT].any()):
            about = frame.loc[0, ["policy", "table", "problem", "objective", "seed", "budget"]]
            found[tuple(about)] = frame.reindex(columns=[*COLUMNS, CODE])
    if not found:
        return pd.DataFrame(columns=[*COLUMNS, CODE])
    return pd.concat(found.values(), ignore_index=True)


def _set(settings: PolicySettings) -> dict[str, object]:
    """The settings that are not the default ones."""
    defaults = asdict(PolicySettings())
    return {name: value for name, value in asdict(settings).items() if value != defaults[name]}


def code_of(policy: Policy, problem: str) -> str:
    """Return the fingerprint of the code that decides a policy's curves on a kind of problem."""
    modules = [type(policy).__module__, replay.__module__]
    if problem == "simulator":
        modules.append(f"{__package__}.simulator")
    return fingerprint(*modules)


def run_job(plan: Plan, job: Job) -> float:
    """Replay a job's campaign and write its file, whole or not at all.

    Returns:
        The seconds that the policy took.
    """
    problem = plan.make_problem(job)
    policy = plan.make_policy(job.policy, problem)
    steps = replay(problem, policy, plan.budget, job.seed, plan.max_trials)
    frame = pd.DataFrame([asdict(step) for step in steps])
    frame = frame.assign(
        **asdict(job), table=plan.table.name, problem=plan.problem, budget=plan.budget
    )[list(COLUMNS)]
    frame[CODE], frame[CUT] = code_of(policy, plan.problem), plan.max_trials is not None
    save_atomically(plan.path(job), lambda path: frame.to_parquet(path, index=False))
    return float(frame["propose_seconds"].sum() + frame["recommend_seconds"].sum())
