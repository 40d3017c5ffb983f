from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.replay.jobs import Job, Plan
from admire_pipeline.replay.synthetic import made_up_table


def test_each_seed_of_a_made_up_table_is_another_table(tmp_path: Path) -> None:
    table = made_up_table("noise")
    plan = Plan(
        table, "pool", ("random",), ("average",), (0, 1), 5.0, tmp_path, tmp_path, made_up="noise"
    )
    first, again, other = (plan.make_problem(Job("random", "average", s)) for s in (1, 1, 2))
    assert first.best == again.best != other.best


def test_an_ablation_that_takes_back_something_else_is_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made_up_table("transfer", domains=3, runs=(4, 3, 3), metrics=1)
    policies = ("admire-one-proof", "admire")
    plan = Plan(table, "pool", policies, ("average",), (0,), 2, tmp_path, tmp_path)
    ablated, ours = plan.jobs()
    before = plan.path(ablated), plan.path(ours)
    changed = {"admire-one-proof": {"settings": {"proof_trials": 0}}}
    monkeypatch.setattr("admire_pipeline.replay.policies.ABLATIONS", changed)
    assert plan.path(ablated) != before[0]
    assert plan.path(ours) == before[1]


def test_cheap_made_up_tables_differ_in_costs_alone() -> None:
    one, cheap = made_up_table("noise", seed=3), made_up_table("cheap-noise", seed=3)
    assert [size.cost for size in cheap.fidelities] == [0.001, 0.06, 1.0]
    same = [column for column in one.frame if column != "cost"]
    pd.testing.assert_frame_equal(one.frame[same], cheap.frame[same])
    assert not np.allclose(one.frame["cost"], cheap.frame["cost"])
