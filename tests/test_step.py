"""Whole steps through `kedro run`: what a user gets from them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from admire_pipeline.optimizer.costs import learn_costs
from admire_pipeline.tracking.store import TRIALS_FOLDER
from tests.conftest import Project

Steps = Callable[[Project, int], None]


def test_three_steps_read_back(project: Project, steps: Steps) -> None:
    steps(project, 3)
    database = project.folder / "data" / "mlflow" / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    try:
        runs = mlflow.search_runs(experiment_names=["test"])
    finally:
        mlflow.set_tracking_uri(None)
    assert list(runs["status"]) == ["FINISHED"] * 3
    weights = runs[["params.mixture.letters", "params.mixture.numbers"]].astype(float)
    assert weights.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-12)
    assert set(runs["params.fidelity"]) <= {"nano", "small"}
    for column in ("metrics.score", "metrics.cost", "metrics.training_flops"):
        assert runs[column].notna().all()
    domains = ("letters", "numbers", "held_out")
    mean = runs[[f"metrics.eval.bits_per_byte.{d}" for d in domains]].mean(axis=1)
    assert runs["metrics.score"].to_numpy() == pytest.approx(-mean.to_numpy(), abs=1e-12)


def test_what_a_trial_keeps(project: Project) -> None:
    result = project.kedro("run", "--pipeline=admire_step")  # the deprecated spelling works too
    assert result.exit_code == 0, result.output
    (run,) = project.runs()
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    assert int(params["tokens"]) == 8192
    assert int(params["parameter_count"]) > 1000
    assert metrics["training_seconds"] > 0
    assert metrics["seconds.train_model"] > metrics["training_seconds"]
    # Loading and saving count: the stages are all there is to a step.
    stages = {name.removeprefix("seconds.") for name in metrics if name.startswith("seconds.")}
    assert stages >= {"hash_recipes", "propose_trial", "evaluate_model", "recommend_mixture"}
    assert tags["admire.policy"] == "admire" and len(tags["admire.config_hash"]) == 64
    client = mlflow.MlflowClient(f"sqlite:///{project.folder}/data/mlflow/mlflow.db")
    assert len(client.get_metric_history(run.info.run_id, "train.loss")) > 5
    assert len(client.get_metric_history(run.info.run_id, "validation.bits_per_byte")) == 2
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {
        "config.yaml",
        "curves.png",
        "evaluation.json",
        "mixing_plan.json",
        "mixture.png",
        "score.json",
        "step_report.json",
        "text_samples.txt",
        "training_run.json",
    }
    folder = project.folder / "data" / "06_models" / "trials" / run.info.run_id
    plan = json.loads((folder / "mixing_plan.json").read_text())
    assert sum(entry["tokens"] for entry in plan["domains"]) == plan["tokens"] == 8192
    samples = (folder / "text_samples.txt").read_text()
    assert re.search(r"=== numbers: \d+ tokens", samples)


def test_what_a_step_prints(project: Project) -> None:
    output = project.kedro("run", "--pipelines=admire_step").output
    assert re.search(r"trial +trial-001-\w+ +\(admire, design\)", output), output
    assert re.search(r"letters +\d+\.\d% +█+ ", output)
    assert re.search(r"held_out +- ", output)
    assert re.search(r"score +-\d\.\d+ ± \d\.\d+ +cost \d\.\d+ +fidelity \w+", output)
    assert re.search(r"best +predicted score -\d\.\d+ ± \d+\.\d+\s+at\s+small", output), output
    assert re.search(r"budget +spent \d\.\d+ of 5 in 1 trials", output)
    assert "mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:////" in output


def test_stages_alone_continue_the_open_trial(project: Project) -> None:
    for stage in ("proposal", "proposal", "data_mixing", "fine_tuning", "evaluation"):
        result = project.kedro("run", f"--pipelines={stage}")
        assert result.exit_code == 0, result.output
        (run,) = project.runs()
        assert run.info.status == "SCHEDULED"
    result = project.kedro("run", "--pipelines=bo_update")
    assert result.exit_code == 0, result.output
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert math.isfinite(run.data.metrics["score"])


def test_run_steps_until_the_budget_is_spent(project: Project) -> None:
    result = project.kedro("admire", "run", "--steps", "2")
    assert result.exit_code == 0, result.output
    assert re.search(r"step 2/2 +trial-002", result.output), result.output
    result = project.kedro("admire", "run", "--budget", "2")
    assert result.exit_code == 0, result.output
    assert "its budget is spent" in result.output
    paid = sum(run.data.metrics["cost"] for run in project.runs())
    assert 2 <= paid < 3


@pytest.mark.parametrize("policy", ["random", "admire-bo", "admire-mfbo"])
def test_named_policies(project: Project, steps: Steps, policy: str) -> None:
    project.set("parameters.yml", "search.policy", policy)
    project.set("parameters.yml", "search.design_trials", 1)
    steps(project, 3)
    assert [run.data.tags["admire.policy"] for run in project.runs()] == [policy] * 3


def test_corpus_is_built_once(project: Project, steps: Steps) -> None:
    steps(project, 1)
    corpus = project.folder / "data" / "05_model_input" / "corpus"
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.npy")}
    steps(project, 1)
    assert before and before == {path: path.stat().st_mtime_ns for path in corpus.rglob("*.npy")}


def test_recommendation_is_kept(project: Project, steps: Steps) -> None:
    project.set("parameters.yml", "search.design_trials", 2)
    steps(project, 3)
    best = json.loads(Path("data/08_reporting/recommendation.json").read_text())
    assert sum(best["mixture"].values()) == pytest.approx(1.0, abs=1e-12)
    table = pd.read_parquet("data/08_reporting/trials.parquet")
    assert table["name"].tolist() == [run.info.run_name for run in project.runs()]
    assert table["score"].tolist() == [run.data.metrics["score"] for run in project.runs()]
    assert table["metric.bits_per_byte.held_out"].notna().all()
    assert best["score_sd"] >= 0 and math.isfinite(best["score_mean"])
    # The objective is the mean of all metrics, negated: so is what is predicted of them.
    means = [metric["mean"] for metric in best["metrics"].values()]
    assert len(means) > 1 and -sum(means) / len(means) == pytest.approx(best["score_mean"])


def test_changed_text_is_refused_under_an_open_trial(project: Project) -> None:
    assert project.kedro("run", "--pipelines=proposal").exit_code == 0
    assert project.kedro("run", "--pipelines=data_mixing").exit_code == 0
    path = Path("data/01_raw/letters.txt")
    path.write_text(path.read_text() + "\na new line of letters that was not there before")
    result = project.kedro("run", "--pipelines=fine_tuning")
    assert result.exit_code == 1
    assert "was made with other text" in result.output, result.output
    (run,) = project.runs()
    assert run.info.status == "KILLED" and run.data.tags["admire.resumable"] == "true"


@pytest.mark.slow
def test_measured_costs_are_what_the_next_trial_is_expected_to_cost(
    project: Project, steps: Steps
) -> None:
    project.set("parameters.yml", "campaign.costs", "measured")
    steps(project, 5)
    runs = project.runs()
    preset = {"nano": 0.25, "small": 1.0}
    for number, run in enumerate(runs):
        before = [
            (r.data.params["fidelity"], metrics["training_seconds"] + metrics["evaluation_seconds"])
            for r in runs[:number]
            if (metrics := r.data.metrics)
        ]
        expected = learn_costs(preset, before)[run.data.params["fidelity"]]
        assert float(run.data.params["expected_cost"]) == run.data.metrics["cost"] == expected
    # Models this small take about the same time: a quarter was too little.
    nano = [r.data.metrics["cost"] for r in runs if r.data.params["fidelity"] == "nano"]
    assert nano[-1] > 0.25
    report = json.loads(
        (project.folder / TRIALS_FOLDER / runs[-1].info.run_id / "step_report.json").read_text()
    )
    assert report["campaign"]["spent"] == pytest.approx(
        sum(float(run.data.params["expected_cost"]) for run in runs)
    )
    assert report["campaign"]["costs"]["next"]["nano"] == pytest.approx(nano[-1], rel=0.5)


def test_a_repeated_evaluation_is_not_timed_again(project: Project) -> None:
    for stage in ("proposal", "data_mixing", "fine_tuning", "evaluation"):
        assert project.kedro("run", f"--pipelines={stage}").exit_code == 0
    (first,) = project.runs()
    assert project.kedro("run", "--pipelines=evaluation").exit_code == 0
    (again,) = project.runs()
    assert again.data.metrics["evaluation_seconds"] == first.data.metrics["evaluation_seconds"] > 0
    assert (
        again.data.metrics["seconds.evaluate_model"]
        != (first.data.metrics["seconds.evaluate_model"])
    )
