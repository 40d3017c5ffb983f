"""`kedro admire report`: what a campaign has found, from its history alone."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from statistics import NormalDist

import pytest

from tests.conftest import Project

Steps = Callable[[Project, int], None]
REPORT = ("admire", "report")


@pytest.mark.slow
def test_it_says_what_the_last_step_said_without_the_corpus(project: Project, steps: Steps) -> None:
    steps(project, 3)
    kept = project.folder / "data" / "08_reporting" / "recommendation.json"
    said = json.loads(kept.read_text())
    kept.unlink()
    before = project.runs()
    # As on a machine that has the project and reaches the tracking server, and no more.
    shutil.rmtree(project.folder / "data" / "01_raw")
    shutil.rmtree(project.folder / "data" / "05_model_input" / "corpus")
    shutil.rmtree(project.folder / "data" / "06_models" / "trials")

    result = project.kedro(*REPORT)

    assert result.exit_code == 0, result.output
    assert json.loads(kept.read_text()) == said
    assert "campaign  test: trials 3 observed" in result.output
    for domain, weight in said["mixture"].items():
        assert re.search(rf"^{domain} +{weight:.1%} +█", result.output, re.MULTILINE)
    assert f"predicted score {said['score_mean']:.4f} ± {said['score_sd']:.4f} at" in result.output
    spent = sum(run.data.metrics["cost"] for run in before)
    assert f"spent {spent:.3f} of 5 in 3 trials" in result.output
    assert "kept    data/08_reporting/recommendation.json" in result.output
    after = project.runs()
    assert [run.to_dictionary() for run in after] == [run.to_dictionary() for run in before]
    assert not (project.folder / "data" / "05_model_input" / "corpus").exists()


@pytest.mark.slow
def test_a_bound_on_a_metric_that_comes_later(project: Project, steps: Steps) -> None:
    """No trial scores another way for it: the campaign goes on, and says what will come of it."""
    project.set("parameters.yml", "search.policy", "admire")
    project.set("parameters.yml", "objective", {"weights": {"bits_per_byte.letters": 1}})
    steps(project, 2)
    bound = {"bits_per_byte.numbers": {"at_most": 1.5, "probability": 0.8}}
    project.set("parameters.yml", "search.constraints", bound)

    for command in (REPORT, ("run", "--pipelines=admire_step")):
        result = project.kedro(*command)
        assert result.exit_code == 0, result.output
        kept = project.folder / "data" / "08_reporting" / "recommendation.json"
        said = json.loads(kept.read_text())
        (told,) = said["constraints"]
        predicted = said["metrics"]["bits_per_byte.numbers"]
        z = (1.5 - predicted["mean"]) / predicted["sd"]
        probability = NormalDist().cdf(z)
        assert told == {
            "metric": "bits_per_byte.numbers",
            "at_most": 1.5,
            "probability": 0.8,
            "predicted_probability": pytest.approx(probability),
        }
        line = (
            f"must bits_per_byte.numbers at most 1.5: predicted {predicted['mean']:.4f} ± "
            f"{predicted['sd']:.4f}, kept with probability {math.floor(probability * 1000) / 1000}"
        )
        assert line in " ".join(result.output.split())


def test_open_and_given_up_trials_count(project: Project, steps: Steps) -> None:
    steps(project, 1)
    for stage in ("proposal", "abandon", "proposal"):
        command = ("admire", stage) if stage == "abandon" else ("run", f"--pipelines={stage}")
        assert project.kedro(*command).exit_code == 0
    result = project.kedro(*REPORT, "--params", "campaign.budget=7")
    assert result.exit_code == 0, result.output
    assert "trials 1 observed, 1 failed, 1 pending" in result.output
    assert re.search(r"spent \d\.\d+ of 7 in 3 trials", result.output)
    assert project.runs()[-1].info.status == "SCHEDULED", "it stays open"


@pytest.mark.parametrize("begun", [False, True])
def test_nothing_to_report_is_one_line(project: Project, begun: bool) -> None:
    if begun:
        assert project.kedro("run", "--pipelines=proposal").exit_code == 0
    result = project.kedro(*REPORT)
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert result.exit_code == 1
    assert len(lines) == 1
    if begun:
        assert lines[0] == (
            "Error: campaign 'test' has no evaluated trial to report; run "
            "`kedro run --pipelines=admire_step` first"
        )
    else:
        assert lines[0].startswith("Error: campaign.name: no campaign 'test' has begun in ")
        assert project.kedro(*REPORT).output == result.output, "asking has begun none"
    assert not (project.folder / "data" / "08_reporting" / "recommendation.json").exists()


def test_another_history_is_refused(project: Project, steps: Steps) -> None:
    steps(project, 1)
    project.set("catalog.yml", "corpus.domains.digits", {"path": "data/01_raw/numbers.jsonl"})
    result = project.kedro(*REPORT)
    assert result.exit_code == 1
    assert "is over domains ['letters', 'numbers'], the config has" in result.output
