"""A whole step whose trial is trained by two processes: ended from outside, then taken up again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from admire_pipeline.training import launch
from tests.conftest import Project
from tests.sockets import listening
from tests.test_crash import STEP, mlflow_client, there, wait_for


@pytest.fixture
def launched(project: Project) -> Project:
    """The target, which comes first, on two processes; some seconds long."""
    project.set("parameters.yml", "fidelities.small.launch.processes", 2)
    project.set("parameters.yml", "fidelities.small.training.tokens", 131072)
    return project


def weights(model: Path) -> torch.Tensor:
    tensors = load_file(model / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def train_without_a_break(project: Project, trial: Path, into: Path) -> Path:
    """The same trial in another folder."""
    from kedro.framework.session import KedroSession

    with KedroSession.create(project.folder, env="test") as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        corpus = catalog.load("corpus")
        ladder, evaluation = (
            catalog.load(f"params:{name}") for name in ("fidelities", "evaluation")
        )
    proposed = json.loads((trial / "trial.json").read_text())
    fidelity = ladder[proposed["fidelity"]]
    assert fidelity.launch.processes == 2
    plan = json.loads((trial / "mixing_plan.json").read_text())
    seed, log = proposed["seed"], lambda *_: None
    into.mkdir()
    launch.train(fidelity, plan, corpus, into, seed, evaluation, log, project.folder)
    return into / "model"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_trial_is_resumed_by_its_processes(
    launched: Project, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = launched
    process = project.start(*STEP)
    wait_for(there(project, "checkpoints/checkpoint-*/complete"), process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3, "accelerate and two processes"
    assert listening(process.pid) == {"127.0.0.1"}
    process.send_signal(number)
    # A process that was killed cannot end them: they see it themselves.
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    output, _ = process.communicate(timeout=60)
    (left,) = project.runs()
    if number == signal.SIGTERM:
        assert "Traceback" not in output, output
        assert "interrupted; the same command finishes it" in output
        assert left.info.status == "KILLED"

    result = project.kedro(*STEP)

    assert result.exit_code == 0, result.output
    assert "resuming from checkpoint-" in caplog.text, "what the processes log is shown"
    (run,) = project.runs()
    assert (run.info.run_id, run.info.status) == (left.info.run_id, "FINISHED")
    curve = mlflow_client(project).get_metric_history(run.info.run_id, "validation.bits_per_byte")
    assert {point.step for point in curve} == {128, 256}
    trial = project.folder / "data" / "06_models" / "trials" / run.info.run_id
    assert not (trial / "launch").exists()
    if number == signal.SIGKILL:  # the training without a break is the longest part
        whole = train_without_a_break(project, trial, tmp_path / "whole")
        assert torch.equal(weights(trial / "model"), weights(whole))
