"""Trials that fail by their own fault: they keep cost and reason, and the campaign goes on."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chaos import Chaos
from tests.conftest import Project
from tests.histories import tally
from tests.test_crash import mlflow_client

STEP = ("run", "--pipelines=admire_step")
BATCHES = 12
"""Of an evaluation, at least."""


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
    project.set("parameters.yml", "campaign.budget", 40)
    fault = chaos.fault("a training diverges to NaN")
    # The set-up phase alternates between the sizes here; a search comes after it.
    project.set("parameters.yml", "search.design_trials", 20 if chaos.full else 3)
    failed: dict[str, np.ndarray] = {}
    finished = 0
    just_failed = False
    while fault.tries + finished < (26 if chaos.full else 6):
        number = len(project.runs()) + 1
        began = time.monotonic()
        result = project.kedro(*STEP)
        run = project.runs()[-1]
        assert len(project.runs()) == number, "a step, a trial"
        if run.data.params["fidelity"] == "small":
            assert (result.exit_code, run.info.status) == (0, "FINISHED"), result.output
            finished += 1
            if just_failed:
                fault.seconds.append(time.monotonic() - began)
            just_failed = False
            continue
        just_failed = True
        fault.tries += 1
        assert (result.exit_code, run.info.status) == (1, "FAILED")
        assert "training: the loss is" in result.output and "Traceback" not in result.output
        assert "the loss is" in run.data.tags["admire.reason"]
        beside = [m for m in failed.values() if np.abs(m - mixture(run)).max() < 0.02]
        fault.duplicated += len(beside) > 1  # it is not tried again and again
        failed[run.info.run_id] = np.array(mixture(run))
    assert finished >= 2 and len(failed) >= 1
    tally(mlflow_client(project), fault, failed=failed)
    assert (fault.lost, fault.duplicated) == (0, 0)
    runs = project.runs()
    last = max(n for n, run in enumerate(runs) if run.info.status == "FINISHED")
    folder = project.folder / "data/06_models/trials" / runs[last].info.run_id
    campaign = json.loads((folder / "step_report.json").read_text())["campaign"]
    spent = sum(1.0 if run.info.status == "FINISHED" else 0.25 for run in runs[: last + 1])
    assert campaign["spent"] == pytest.approx(spent)
    assert Path("data/08_reporting/recommendation.json").exists()


@pytest.mark.slow
@pytest.mark.chaos
def test_evaluation_that_raises_fails_its_trial_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch, chaos: Chaos
) -> None:
    """The error alone is made up: after a random batch of the evaluation."""
    from admire_pipeline.training import evaluate

    fault = chaos.fault("an evaluation raises after a random batch")
    project.set("parameters.yml", "campaign.budget", 40)
    project.set("parameters.yml", "search.design_trials", 1000)
    chance = random.Random(16)
    failed: list[str] = []
    measure = evaluate.evaluate_domains
    for _ in range(12 if chaos.full else 1):
        batches = chance.randrange(BATCHES)

        def break_off(model: Any, *arguments: Any, batches: int = batches) -> Any:
            """The evaluation, of a model that gives its last batch."""
            given = iter(range(batches))

            def give(*_: object) -> None:
                if next(given, None) is None:
                    raise RuntimeError("index out of range in self")

            model.register_forward_pre_hook(give)
            return measure(model, *arguments)

        with monkeypatch.context() as broken:
            broken.setattr(evaluate, "evaluate_domains", break_off)
            result = project.kedro(*STEP)
        assert result.exit_code == 1, "it has so many batches"
        run = project.runs()[-1]
        failed.append(run.info.run_id)
        assert run.data.tags["admire.reason"] == "RuntimeError: index out of range in self"
        assert run.data.metrics["cost"] == float(run.data.params["expected_cost"])
        with fault.recovering():
            assert project.kedro(*STEP).exit_code == 0
        runs = tally(mlflow_client(project), fault, failed=failed)
        assert len(runs) == 2 * len(failed)
        assert (fault.lost, fault.duplicated) == (0, 0)
