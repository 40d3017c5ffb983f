"""Jobs on several processes: resumed, failing alone, the longest first."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from admire_pipeline.optimizer import PolicySettings
from admire_pipeline.replay.code import _canonical, _parse, fingerprint, table_hash
from admire_pipeline.replay.jobs import COLUMNS, Job, Plan
from admire_pipeline.replay.runner import run_plan
from admire_pipeline.replay.synthetic import made_up_table

TABLE = made_up_table("transfer", domains=4, runs=(30, 20, 15), metrics=2)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        table=TABLE,
        problem="pool",
        policies=("random", "uniform"),
        objectives=("average", "metric-1"),
        seeds=(0, 3),
        budget=4,
        folder=tmp_path / "out",
        cache=tmp_path / "cache",
    )


def times(plan: Plan) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in plan.folder.glob("jobs/[!.]*")}


def test_every_policy_objective_and_seed_has_a_curve(plan: Plan) -> None:
    outcome = run_plan(plan, 1)
    assert outcome.failures == ()
    assert list(outcome.curves.columns) == list(COLUMNS)
    campaigns = outcome.curves.groupby(["policy", "objective", "seed"])
    assert len(campaigns) == 8
    for _, curve in campaigns:
        assert list(curve["step"]) == list(range(len(curve)))
        assert curve["cost"].iloc[0] == 0 and curve["cost"].iloc[-1] <= 4
    random = outcome.curves[outcome.curves["policy"] == "random"]
    assert random["cost"].max() == 4


def test_processes_change_nothing(plan: Plan, tmp_path: Path) -> None:
    alone = run_plan(plan, 1).curves
    together = run_plan(replace(plan, folder=tmp_path / "other"), 2).curves
    fixed = [name for name in COLUMNS if "seconds" not in name]
    pd.testing.assert_frame_equal(alone[fixed], together[fixed])


def test_what_is_finished_is_not_run_again(plan: Plan) -> None:
    run_plan(replace(plan, seeds=(0,)), 1)
    before = times(plan)
    outcome = run_plan(plan, 1)
    assert outcome.reused == 4
    assert {name: time for name, time in times(plan).items() if name in before} == before
    assert len(times(plan)) == 8


def test_another_budget_or_table_is_another_job(plan: Plan) -> None:
    job = Job("random", "average", 0)
    other = made_up_table("transfer", domains=4, runs=(30, 20, 15), metrics=2, seed=1)
    paths = {
        plan.path(job),
        replace(plan, budget=3).path(job),
        replace(plan, table=other).path(job),
        replace(plan, problem="simulator").path(job),
        replace(plan, settings=PolicySettings(proof_trials=1)).path(job),
        plan.path(Job("random", "average", 1)),
    }
    assert len(paths) == 6
    assert replace(plan, seeds=(9,), policies=("random",)).path(job) == plan.path(job)


def test_the_hash_of_a_table_is_that_of_its_content() -> None:
    again = made_up_table("transfer", domains=4, runs=(30, 20, 15), metrics=2)
    assert table_hash(again) == table_hash(TABLE)
    changed = replace(TABLE, frame=TABLE.frame.assign(**{"metric.metric-1": 0.0}))
    assert table_hash(changed) != table_hash(TABLE)


def test_a_job_that_fails_is_one_line_and_the_others_go_on(
    plan: Plan, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = replace(plan, policies=("random", "zero-shot-size-9"))
    outcome = run_plan(broken, 1)
    assert len(outcome.failures) == 4
    assert outcome.curves["policy"].unique() == ["random"]
    assert outcome.failures[0].startswith("zero-shot-size-9, average, seed ")
    lines = [line for line in capfd.readouterr().err.splitlines() if "failed: " in line]
    assert len(lines) == 4
    # What has failed is tried again.
    assert run_plan(broken, 1).reused == 4


def test_other_code_is_noticed_and_run_again_on_demand(plan: Plan) -> None:
    plan = replace(plan, policies=("random",), objectives=("average",), seeds=(0,))
    run_plan(plan, 1)
    assert run_plan(plan, 1).outdated == 0
    path = plan.path(plan.jobs()[0])
    pd.read_parquet(path).assign(code="of old").to_parquet(path)
    assert run_plan(plan, 1).outdated == 1
    assert run_plan(plan, 1, redo=True).reused == 0
    assert run_plan(plan, 1).outdated == 0


def test_the_fingerprint_is_of_all_that_is_imported() -> None:
    own = fingerprint("admire_pipeline.optimizer.random_search")
    assert own == fingerprint("admire_pipeline.optimizer.random_search")
    assert own != fingerprint("admire_pipeline.optimizer.random_search", __name__)
    assert own != fingerprint("admire_pipeline.optimizer.bayesian")


def test_what_only_type_checkers_import_is_not_in_the_fingerprint() -> None:
    """`make_policy` names the constraints of our policy, which no other one heeds."""
    _, imported = _parse("admire_pipeline.optimizer")
    assert "admire_pipeline.optimizer.policy" in imported
    assert "admire_pipeline.optimizer.constraints" not in imported


def test_the_fingerprint_is_the_same_with_every_python() -> None:
    """As later versions parse, a function has an empty list of type parameters more."""
    tree = ast.parse("def f(x): return f'{x!r:>{len(\"a\")}}'")
    same = ast.parse("def f(x): return f'{x!r:>{len(\"a\")}}'")
    function = same.body[0]
    assert isinstance(function, ast.FunctionDef)
    function._fields = (*function._fields, "later")  # type: ignore[misc]
    function.later = []  # type: ignore[attr-defined]
    assert ast.dump(tree) != ast.dump(same)
    assert _canonical(tree) == _canonical(same)
    assert _canonical(tree) != _canonical(ast.parse("def f(x): return f'{x!r:>{len(\"ab\")}}'"))


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from admire_pipeline.replay.jobs import Plan
from admire_pipeline.replay.runner import run_plan
from admire_pipeline.replay.synthetic import made_up_table

if __name__ == "__main__":
    table = made_up_table("transfer", domains=4, runs=(30, 20, 15), metrics=2)
    folder = Path(sys.argv[1])
    seeds = tuple(range(20))
    plan = Plan(table, "pool", ("admire-mfbo",), ("average",), seeds, 3.0, folder, folder)
    run_plan(plan, 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_benchmark_leaves_no_process_and_goes_on(tmp_path: Path, sent: int) -> None:
    script = tmp_path / "benchmark.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while not len(done := sorted(folder.glob("jobs/[!.]*.parquet"))) >= 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(sent)
    process.wait(30)
    time.sleep(2)
    assert _members(process.pid) == []
    before = {path: path.stat().st_mtime_ns for path in done}
    plan = Plan(TABLE, "pool", ("admire-mfbo",), ("average",), (0, 1), 3.0, folder, folder)
    assert set(before) <= {plan.path(Job("admire-mfbo", "average", s)) for s in range(20)}
    assert len(before) < 20
    run_plan(plan, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def _members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found
