"""What the benchmark's settings name without importing it, which takes long, is what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from admire_pipeline import optimizer
from admire_pipeline.errors import UserError
from admire_pipeline.pipelines.benchmark.plan import (
    EVERY_POLICY,
    QUICK_POLICIES,
    load_table,
    make_plan,
)
from admire_pipeline.pipelines.benchmark.settings import MADE_UP, PUBLISHED, BenchmarkSettings
from admire_pipeline.replay.policies import BASELINES
from admire_pipeline.replay.published import READERS
from admire_pipeline.replay.synthetic import KINDS, PREFIX, made_up_table
from admire_pipeline.replay.table import RunTable
from admire_pipeline.training.objective import LOSSES


def test_every_policy_is_run() -> None:
    assert sorted(EVERY_POLICY) == sorted([*optimizer.POLICIES, *BASELINES])
    assert set(QUICK_POLICIES) < set(EVERY_POLICY)


def test_every_table_is_named() -> None:
    assert sorted(PUBLISHED) == sorted(READERS)
    assert sorted(MADE_UP) == sorted(PREFIX + kind for kind in KINDS)


@pytest.mark.parametrize(
    "name",
    [
        *LOSSES,
        *(f"{loss}.task" for loss in LOSSES),
        "val_loss",
        "losses",
        "logloss",
        "ppl_web",
        "WER",
    ],
)
def test_a_metric_named_like_a_loss_needs_a_direction(name: str, tmp_path: Path) -> None:
    frame = made_up_table("noise", domains=2, metrics=1, runs=(3, 3, 3)).frame
    frame.rename(columns={"metric.metric-1": f"metric.{name}"}).to_csv(tmp_path / "mine.csv")
    with pytest.raises(UserError, match=f"not given, and metric.{name} of 'mine.csv' has the name"):
        load_table(BenchmarkSettings(table="mine.csv"), tmp_path)
    settings = BenchmarkSettings(table="mine.csv", direction="minimize")
    assert load_table(settings, tmp_path).direction == "minimize"


@pytest.mark.parametrize("name", ["acc,none", "gloss.task", "average_f1", "terse", "lossless"])
def test_other_names_do_not(name: str, tmp_path: Path) -> None:
    frame = made_up_table("noise", domains=2, metrics=1, runs=(3, 3, 3)).frame
    frame.rename(columns={"metric.metric-1": f"metric.{name}"}).to_csv(tmp_path / "mine.csv")
    assert load_table(BenchmarkSettings(table="mine.csv"), tmp_path).direction == "maximize"


def test_names_with_a_comma_are_whole_again_unless_each_part_is_one(tmp_path: Path) -> None:
    made = made_up_table("noise", domains=2, metrics=3, runs=(3, 3, 3))
    names = {f"metric.metric-{i + 1}": f"metric.{name}" for i, name in enumerate(("a", "b", "a,b"))}
    table = RunTable.from_frame("mine", made.frame.rename(columns=names), "maximize")

    def objectives(given: object) -> tuple[str, ...]:
        settings = BenchmarkSettings.model_validate(
            {"table": "x", "objectives": given, "out": tmp_path}
        )
        return make_plan(settings, table, tmp_path).objectives

    assert objectives("a,b") == ("a", "b") == objectives(["a", "b"])
    assert objectives(["a,b"]) == ("a,b",)
    assert objectives("average,a,b") == ("average", "a", "b")


def test_a_simulator_wants_no_pool_to_choose_from(tmp_path: Path) -> None:
    frame = made_up_table("noise", domains=2, metrics=2, runs=(9, 9, 9)).frame
    last = frame.index[-8:]
    frame.loc[last, "split"] = "held_out"
    table = RunTable.from_frame("mine", frame, "maximize")
    settings = BenchmarkSettings(table="x", problem="simulator", policies=("random",))
    assert make_plan(settings, table, tmp_path).objectives == ("average", "metric-1", "metric-2")
    with pytest.raises(UserError, match="'average': all runs of 'size-3' in the pool score the sa"):
        make_plan(settings.model_copy(update={"problem": "pool"}), table, tmp_path)
