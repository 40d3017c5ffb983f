"""Campaigns of a benchmark travel from machine to machine in one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from admire_pipeline.replay.jobs import COLUMNS, Job, Plan
from admire_pipeline.replay.runner import run_plan
from admire_pipeline.replay.synthetic import made_up_table
from tests.conftest import ROOT

TABLE = made_up_table("transfer", domains=4, runs=(30, 20, 15), metrics=2)

RUN = """
import sys
from pathlib import Path
from admire_pipeline.replay.runner import run_plan
from tests.test_kept import made_up
run_plan(made_up(Path(sys.argv[1])), 1)
"""


def kept(*arguments: object) -> str:
    command = [sys.executable, "benchmarks/kept.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def made_up(folder: Path) -> Plan:
    """A benchmark on a table that is known by its name."""
    return Plan(
        table=made_up_table("transfer"),
        problem="pool",
        policies=("random", "uniform"),
        objectives=("average",),
        seeds=(0, 1, 2, 3),
        budget=3.0,
        folder=folder / "benchmark",
        cache=folder / "cache",
        made_up="transfer",
    )


def test_another_machine_goes_on_with_what_was_run_here(tmp_path: Path) -> None:
    here = Plan(
        table=TABLE,
        problem="pool",
        policies=("random", "uniform"),
        objectives=("average",),
        seeds=(0, 1),
        budget=3,
        folder=tmp_path / "here" / "made-up",
        cache=tmp_path / "cache",
    )
    results, there = tmp_path / "results", tmp_path / "there"
    run_plan(replace(here, seeds=(0,)), 1)
    assert kept("pack", here.folder, results).startswith("2 campaigns in ")
    whole = run_plan(here, 1).curves
    assert kept("pack", here.folder, results).startswith("4 campaigns in ")

    assert kept("unpack", results, "--reports", there).startswith("4 campaigns of ")
    outcome = run_plan(replace(here, folder=there / "made-up"), 1, redo=True)
    assert (outcome.reused, outcome.outdated) == (4, 0)
    # What the clock said travels to a tenth of a millisecond, all else as it is.
    seconds = {"propose_seconds": 4, "recommend_seconds": 4}
    pd.testing.assert_frame_equal(outcome.curves, whole.round(seconds))

    run_plan(replace(here, seeds=(2,), folder=there / "made-up"), 1)
    assert kept("pack", there / "made-up", results).startswith("6 campaigns in "), "four as before"
    assert kept("unpack", results, "--reports", there).startswith("6 campaigns of ")
    assert list(outcome.curves.columns) == list(COLUMNS)


def test_what_older_code_has_run_gives_way_to_what_todays_has(tmp_path: Path) -> None:
    plan = replace(made_up(tmp_path), policies=("random",), seeds=(0, 1))
    results = tmp_path / "results"
    run_plan(plan, 1)
    kept("pack", plan.folder, results)
    one, other = (plan.path(Job("random", "average", seed)) for seed in plan.seeds)
    today = pd.read_parquet(one)
    today.assign(code="older").to_parquet(one, index=False)
    kept("pack", plan.folder, results)
    codes = pd.read_parquet(results / "benchmark.parquet")["code"]
    assert codes.unique().tolist() == today["code"].unique().tolist(), "not from older code"
    kept("unpack", results, "--reports", tmp_path)
    assert pd.read_parquet(one)["code"].equals(today["code"])

    file = results / "benchmark.parquet"
    pd.read_parquet(file).assign(code="older").to_parquet(file, index=False)
    local = other.read_bytes()
    kept("unpack", results, "--reports", tmp_path)
    assert other.read_bytes() == local, "what is kept is the older one"

    gone = pd.read_parquet(file).assign(code="another", policy="admire-of-old")
    gone.to_parquet(file, index=False)
    kept("unpack", results, "--reports", tmp_path)
    assert other.read_bytes() == local, "no policy of today"


def test_results_of_older_code_are_renewed_where_a_sample_is_the_same(tmp_path: Path) -> None:
    before = older_code(tmp_path / "before")
    for name, code in (("then", before), ("now", ROOT)):
        run = [sys.executable, "-c", RUN, str(tmp_path / name)]
        path = os.pathsep.join([str(code / "src"), str(ROOT)])
        subprocess.run(run, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, check=True)
        kept("pack", tmp_path / name / "benchmark", tmp_path / f"{name}-results")
    results, file = tmp_path / "then-results", tmp_path / "then-results" / "benchmark.parquet"
    then, today = pd.read_parquet(file), pd.read_parquet(tmp_path / "now-results" / file.name)
    assert not set(then["code"]) & set(today["code"])

    with pytest.raises(subprocess.CalledProcessError) as error:
        kept("renew", results, "--before", ROOT)
    assert "random: left as it is: " in error.value.stdout
    assert f"left as it is: not run by {ROOT}" in error.value.stdout
    assert pd.read_parquet(file)["code"].equals(then["code"])

    with pytest.raises(subprocess.CalledProcessError) as error:
        kept("renew", results, "--before", before, "--trials", 2)
    said = error.value.stdout
    assert "random: 3 of 4 run again, none renewed; other steps: random.average." in said
    assert "uniform: 3 of 4 run again, the same; all renewed" in said
    found, uniform = pd.read_parquet(file), then["policy"] == "uniform"
    assert found["code"].tolist() == today["code"].where(uniform, then["code"]).tolist()

    found[uniform].to_parquet(file)
    assert kept("renew", results, "--before", before) == "", "nothing is old any more"
    then.assign(table="my-runs").to_parquet(file)
    with pytest.raises(subprocess.CalledProcessError) as error:
        kept("renew", results, "--before", before)
    assert "left as it is: table 'my-runs' is a file" in error.value.stdout


def older_code(folder: Path) -> Path:
    """Make a checkout whose random search draws otherwise and whose other policies do not."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    package = folder / "src" / "admire_pipeline"
    replay, policy = package / "replay/campaign.py", package / "optimizer/random_search.py"
    replay.write_text(f"{replay.read_text()}\nUNUSED = 1\n")
    policy.write_text(policy.read_text().replace("trial_rng(seed", "trial_rng(1 + seed"))
    return folder
