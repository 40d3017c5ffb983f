from __future__ import annotations

from pathlib import Path

from admire_pipeline.replay.jobs import Job, Plan
from admire_pipeline.replay.synthetic import made_up_table


def test_each_seed_of_a_made_up_table_is_another_table(tmp_path: Path) -> None:
    table = made_up_table("noise")
    plan = Plan(
        table, "pool", ("random",), ("average",), (0, 1), 5.0, tmp_path, tmp_path, made_up="noise"
    )
    first, again, other = (plan.make_problem(Job("random", "average", s)) for s in (1, 1, 2))
    assert first.best == again.best != other.best
