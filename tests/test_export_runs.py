"""`kedro admire export-runs`, and another campaign that starts from what it wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.replay import read_table
from tests.conftest import Project

Steps = Callable[[Project, int], None]
METRICS = [f"metric.bits_per_byte.{name}" for name in ("held_out", "letters", "numbers")]


def export(project: Project, *arguments: str) -> str:
    result = project.kedro("admire", "export-runs", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def one_line(project: Project, *arguments: str) -> str:
    result = project.kedro(*arguments)
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert result.exit_code == 1 and len(lines) == 1, result.output
    return lines[0]


@pytest.mark.slow
def test_a_campaign_starts_from_another_ones_runs(project: Project, steps: Steps) -> None:
    steps(project, 4)
    made = project.runs()
    assert "4 runs of campaign 'test' in" in export(project)
    assert "own.csv" in export(project, "--out", "data/own.csv")

    default = project.folder / "data" / "08_reporting" / "runs.parquet"
    frame, text = (
        pd.read_parquet(default),
        pd.read_csv("data/own.csv", float_precision="round_trip"),
    )
    pd.testing.assert_frame_equal(frame, text, check_exact=True, check_dtype=False)
    for run, row in zip(made, frame.to_dict("records"), strict=True):
        weights = json.loads(run.data.params["admire.proposal"])["mixture"]
        assert row["trial"] == run.info.run_name
        assert {name: row[f"mixture.{name}"] for name in weights} == weights
        assert row["score"] == run.data.metrics["score"]
        for column in METRICS:
            name = column.removeprefix("metric.")
            assert row[column] == run.data.metrics[f"eval.{name}"]
            error = run.data.metrics[f"eval_standard_error.{name}"]
            assert row[f"metric_se.{name}"] == error > 0
        assert row["score"] == pytest.approx(-np.mean([row[c] for c in METRICS]), abs=1e-12)
    table = read_table("data/own.csv", "minimize")
    assert [(f.name, f.cost) for f in table.fidelities] == [("nano", 0.25), ("small", 1.0)]
    mixtures = frame[frame["fidelity"] == "nano"][[f"mixture.{d}" for d in table.domains]]
    assert np.array_equal(table.mixtures("nano"), mixtures)

    project.set("parameters.yml", "campaign.name", "second")
    project.set("parameters.yml", "search.warm_start", "data/08_reporting/runs.parquet")
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 0, result.output
    (run,) = project.runs()[4:]
    # Four runs are the whole set-up phase.
    assert run.data.tags["admire.phase"] == "search"
    based_on = run.data.tags["admire.based_on"].split(",")
    assert sorted(based_on) == [f"warm-000{n}" for n in (1, 2, 3, 4)]
    spent = run.data.metrics["cost"]
    assert f"spent {spent:.3f} of 5 in 1 trials" in result.output
    assert "1 runs of campaign 'second'" in export(project, "--out", "data/second.csv")

    # The table may go at any time.
    project.set("parameters.yml", "search.warm_start", None)
    steps(project, 1)
    assert project.runs()[5].data.tags["admire.phase"] == "design"


def test_bad_input_is_one_line(project: Project) -> None:
    assert "no campaign 'test' has begun in" in one_line(project, "admire", "export-runs")
    step = ("run", "--pipelines=admire_step")
    project.set("parameters.yml", "search.warm_start", "data/gone.csv")
    line = one_line(project, *step)
    assert re.match("Error: search.warm_start: no file '.*gone.csv'; allowed: a .csv or .par", line)
    project.set("parameters.yml", "search.warm_start", 3)
    assert "search.warm_start: 3 is not allowed; allowed: " in one_line(project, *step)
    Path("data/other.csv").write_text(
        "fidelity,cost,mixture.letters,mixture.digits,metric.x\nnano,1,0.5,0.5,1\n"
    )
    project.set("parameters.yml", "search.warm_start", "data/other.csv")
    assert "other.csv: domain 'digits' is not in the config" in one_line(project, *step)
    Path("data/losses.csv").write_text(
        "fidelity,cost,mixture.letters,mixture.numbers,metric.bits_per_byte.letters\n"
        "nano,1,0.5,0.5,1.5\nnano,1,0.6,0.4,-1.5\n"
    )
    project.set("parameters.yml", "objective", {"weights": {"bits_per_byte.letters": 1}})
    project.set("parameters.yml", "search.warm_start", "data/losses.csv")
    line = one_line(project, *step)
    assert "losses.csv: metric.bits_per_byte.letters is -1.5 in row 2; allowed: 0 to inf" in line
    assert project.runs() == []
    assert "campaign 'test' has no evaluated trial" in one_line(project, "admire", "export-runs")
    other = ("--params", "campaign.name=other")
    assert "no campaign 'other' has begun" in one_line(project, "admire", "export-runs", *other)
    assert "no campaign 'other' has begun" in one_line(project, "admire", "abandon", *other)
    line = one_line(project, "run", "--nodes=hash_recipes,propose_trial")
    assert "need 'read_warm_start' too" in line


def test_the_ending_of_the_file_is_checked(project: Project, steps: Steps) -> None:
    steps(project, 1)
    project.set("parameters.yml", "search.warm_start", "data/known.csv")
    line = one_line(project, "admire", "export-runs", "--out", "data/known.csv")
    assert "'data/known.csv' is the campaign's search.warm_start, whose runs would be lost" in line
    line = one_line(project, "admire", "export-runs", "--out", "runs.xlsx")
    assert "--out: 'runs.xlsx' is not allowed; allowed: a .csv or .parquet file" in line
