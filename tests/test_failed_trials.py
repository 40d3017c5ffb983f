"""Trials that fail by their own fault: they keep cost and reason, and the campaign goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.chaos import Chaos
from tests.conftest import Project

STEP = ("run", "--pipelines=admire_step")


def mixture(run: object) -> list[float]:
    params = run.data.params  # type: ignore[attr-defined]
    return [float(v) for k, v in sorted(params.items()) if k.startswith("mixture.")]


@pytest.mark.slow
@pytest.mark.chaos
def test_diverging_trainings_fail_and_the_campaign_goes_on(project: Project, chaos: Chaos) -> None:
    """Every training of the smaller size diverges."""
    recipe = {"tokens": 8192, "sequence_length": 64, "batch_size": 8, "evaluations": 2}
    for fidelity, rate in (("nano", 1e30), ("small", 0.01)):
        project.set(
            "parameters.yml", f"fidelities.{fidelity}.training", {**recipe, "learning_rate": rate}
        )
    project.set("parameters.yml", "campaign.budget", 20)
    fault = chaos.fault("a training diverges to NaN")
    # The set-up phase alternates between the sizes here; a search comes after it.
    project.set("parameters.yml", "search.design_trials", 3)
    failed: list[np.ndarray] = []
    finished = 0
    for number in range(1, (16 if chaos.full else 6) + 1):
        with fault.recovering():
            result = project.kedro(*STEP)
        run = project.runs()[-1]
        assert len(project.runs()) == number, "a step, a trial"
        if run.data.params["fidelity"] == "small":
            assert (result.exit_code, run.info.status) == (0, "FINISHED"), result.output
            finished += 1
            continue
        assert (result.exit_code, run.info.status) == (1, "FAILED")
        assert "training: the loss is" in result.output and "Traceback" not in result.output
        assert "the loss is" in run.data.tags["admire.reason"]
        assert run.data.metrics["cost"] == 0.25 and "score" not in run.data.metrics
        beside = [m for m in failed if np.abs(m - mixture(run)).max() < 0.02]
        assert len(beside) <= 1, "it is not tried again and again"
        failed.append(np.array(mixture(run)))
    assert finished >= 2 and len(failed) >= 1
    report = project.folder / "data/06_models/trials" / project.runs()[-1].info.run_id
    if (report / "step_report.json").exists():
        campaign = json.loads((report / "step_report.json").read_text())["campaign"]
        assert campaign["spent"] == pytest.approx(finished + 0.25 * len(failed))
    assert Path("data/08_reporting/recommendation.json").exists()


def test_evaluation_that_raises_fails_its_trial_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error alone is made up."""
    from admire_pipeline.training import evaluate

    def fail(*_: object) -> None:
        raise RuntimeError("index out of range in self")

    with monkeypatch.context() as broken:
        broken.setattr(evaluate, "evaluate_domains", fail)
        assert project.kedro(*STEP).exit_code == 1
    (run,) = project.runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["admire.reason"] == "RuntimeError: index out of range in self"
    assert run.data.metrics["cost"] == float(run.data.params["expected_cost"])
    assert project.kedro(*STEP).exit_code == 0
    first, second = project.runs()
    assert (first.info.status, second.info.status) == ("FAILED", "FINISHED")
    assert mixture(first) != mixture(second) or (
        first.data.params["fidelity"] != second.data.params["fidelity"]
    )
