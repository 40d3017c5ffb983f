"""Trials on two processes of this machine, over gloo."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from admire_pipeline.errors import LaunchError, TrialError, UserError
from admire_pipeline.hooks import CampaignHooks
from admire_pipeline.training import launch, run, worker
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.settings import (
    EvaluationSettings,
    FidelitySettings,
    LaunchSettings,
    ModelSettings,
    TrainingSettings,
)
from tests.training.workers import MaskedDataset

EVALUATION = EvaluationSettings(batch_size=4, max_bytes=2048, curve_bytes=512)
WORKERS = "tests.training.workers"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launched processes can do what `workers.py` adds."""
    monkeypatch.setattr(launch, "WORKER", WORKERS)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def fidelity(model_settings: ModelSettings, recipe: TrainingSettings) -> FidelitySettings:
    # 99 sequences in steps of 8: the last one is not whole.
    training = recipe.model_copy(
        update={"tokens": 99 * 64, "batch_size": 2, "gradient_accumulation": 4}
    )
    return FidelitySettings(cost=1, model=model_settings, training=training)


def on(fidelity: FidelitySettings, processes: int, config: str | None = None) -> FidelitySettings:
    launched = LaunchSettings(processes=processes, config=config)
    return fidelity.model_copy(update={"launch": launched})


def make_job(call: str, fidelity: FidelitySettings, corpus: Corpus, folder: Path) -> worker.Job:
    draws = fidelity.training.draws
    plan = plan_mixture({"letters": 0.5, "numbers": 0.5}, draws, 64, corpus, seed=5).to_dict()
    folder.mkdir(exist_ok=True)
    return worker.Job(
        call=call,
        fidelity=fidelity,
        corpus=corpus,
        folder=folder,
        evaluation=EVALUATION,
        arguments={"mixing_plan": json.loads(json.dumps(plan)), "seed": 5},
    )


class Points(list[tuple[int, dict[str, float]]]):
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.append((step, dict(metrics)))


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model" / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def test_a_job_reads_back_as_it_was(
    fidelity: FidelitySettings, corpus: Corpus, tmp_path: Path
) -> None:
    job = make_job("train", on(fidelity, 2), corpus, tmp_path)
    back = worker.Job.model_validate_json(job.model_dump_json())
    assert back == job
    assert back.corpus.manifest == corpus.manifest


@pytest.mark.slow
@pytest.mark.parametrize("call", ["train", "masked"])
def test_two_processes_train_as_one(
    call: str,
    fidelity: FidelitySettings,
    corpus: Corpus,
    tmp_path: Path,
    workers: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "admire_pipeline")
    if call == "masked":
        monkeypatch.setattr(run, "MixtureDataset", MaskedDataset)
    alone, together = Points(), Points()
    one = make_job(call, fidelity, corpus, tmp_path / "one")
    expected = worker._train(one, alone.log)
    result = launch.run_job(
        make_job(call, on(fidelity, 2), corpus, tmp_path / "two"), ROOT, together.log
    )
    assert [step for step, _ in together] == [step for step, _ in alone]
    for (_, there), (_, here) in zip(together, alone, strict=True):
        assert there == pytest.approx(here, abs=1e-3)
    # The same sums in another order, 13 AdamW steps of float32 apart.
    torch.testing.assert_close(
        weights(tmp_path / "two"), weights(tmp_path / "one"), atol=1e-3, rtol=0
    )
    same = ("parameters", "tokens", "flops", "model", "corpus")
    assert {k: result[k] for k in same} == {k: expected[k] for k in same}
    left = {path.name for path in (tmp_path / "two").iterdir()}
    assert left == {"model", "checkpoints"}, "the job does not stay; the last checkpoint does"
    assert not list((tmp_path / "two").rglob("training_args.bin"))
    losses = [line for line in caplog.messages if line.startswith("step ")]
    assert losses[0] == f"step 1: loss {alone[0][1]['train.loss']:.4f}"


def interrupt(metrics: Mapping[str, float], step: int) -> None:
    if step > 4:
        raise KeyboardInterrupt


@pytest.mark.parametrize("gets_on", [True, False])
def test_a_crash_of_this_process_is_held_against_a_trial_that_did_not_get_on(
    fidelity: FidelitySettings,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gets_on: bool,
) -> None:
    """The crash alone is faked."""

    def crash(*_: object) -> None:
        if gets_on:
            folder = tmp_path / "checkpoints" / "checkpoint-5"
            folder.mkdir(parents=True)
            (folder / "complete").write_text("{}")
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(run, "train_trial", crash)
    job = make_job("train", fidelity, corpus, tmp_path)
    what = (fidelity, job.arguments["mixing_plan"], corpus, tmp_path, 0, job.evaluation)
    with pytest.raises(Exception, match="illegal memory access") as failed:
        launch.train(*what, Points().log, ROOT)
    assert isinstance(failed.value, UserError) is gets_on
    assert CampaignHooks._is_to_blame(failed.value) is not gets_on


def test_a_crash_on_changed_text_is_not_held_against_the_trial(
    fidelity: FidelitySettings, corpus: Corpus, tmp_path: Path
) -> None:
    """Tokens out of any range, from the first step on."""
    tokens = corpus.folders["letters"] / "train.tokens"
    before = tokens.read_bytes()
    job = make_job("train", fidelity, corpus, tmp_path)
    what = (fidelity, job.arguments["mixing_plan"], corpus, tmp_path, 0, job.evaluation)
    tokens.write_bytes(b"\xff" * len(before))
    try:
        with pytest.raises(UserError, match=r"letters: train\.tokens does not hold"):
            launch.train(*what, Points().log, ROOT)
    finally:
        tokens.write_bytes(before)


@pytest.mark.slow
def test_one_process_finishes_what_two_began(
    fidelity: FidelitySettings, corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "admire_pipeline")
    often = fidelity.training.model_copy(update={"checkpoint_seconds": 1e-9, "tokens": 195 * 64})
    fidelity = fidelity.model_copy(update={"training": often})
    worker._train(make_job("train", fidelity, corpus, tmp_path / "one"), Points().log)
    begun = make_job("train", on(fidelity, 2), corpus, tmp_path / "two")
    with pytest.raises(KeyboardInterrupt):
        launch.run_job(begun, ROOT, interrupt)
    worker._train(make_job("train", fidelity, corpus, tmp_path / "two"), (rest := Points()).log)
    assert rest[0][0] > 1
    assert any(message.startswith("resuming from checkpoint-") for message in caplog.messages)
    torch.testing.assert_close(
        weights(tmp_path / "two"), weights(tmp_path / "one"), atol=1e-3, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("state_dict_type", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_a_spread_model_trains_and_resumes_as_one(
    state_dict_type: str,
    fidelity: FidelitySettings,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "admire_pipeline")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "WORKER", "tests.training.spread_workers")
    config = tmp_path / "fsdp.yaml"
    shipped = (ROOT / "conf" / "accelerate" / "fsdp.yaml").read_text()
    config.write_text(shipped.replace("FULL_STATE_DICT # check", f"{state_dict_type} # check"))
    assert state_dict_type in config.read_text()
    often = fidelity.training.model_copy(update={"checkpoint_seconds": 1e-9, "tokens": 195 * 64})
    fidelity = fidelity.model_copy(update={"training": often})
    one, together = make_job("train", fidelity, corpus, tmp_path / "one"), Points()
    worker._train(one, Points().log)
    two = make_job("train", on(fidelity, 2, str(config)), corpus, tmp_path / "two")

    with pytest.raises(KeyboardInterrupt):
        launch.run_job(two, ROOT, interrupt)
    launch.run_job(two, ROOT, together.log)
    assert "2 processes spread a FSDPLlamaForCausalLM" in caplog.messages
    assert any(message.startswith("resuming from checkpoint-") for message in caplog.messages)
    assert together[0][0] > 1
    torch.testing.assert_close(
        weights(tmp_path / "two"), weights(tmp_path / "one"), atol=1e-4, rtol=0
    )


FAILURES: dict[str, tuple[type[Exception], str, bool]] = {
    "UserError": (UserError, r"^corpus: it is gone; allowed: one that is there$", False),
    "TrialError": (TrialError, r"^training: the loss is nan$", True),
    "OSError": (OSError, r"^launch: .*No space left on device\nTraceback", False),
    "RuntimeError": (LaunchError, r"Traceback(.|\n)*RuntimeError: shapes do not fit", True),
    "crash after a checkpoint": (UserError, r"a cable came loose\); the same command goes", False),
    "SIGKILL": (UserError, r"a process was killed by SIGKILL \(out of memory\?\)", False),
    "SIGSEGV": (LaunchError, r"exit code -11\nlast lines:\n(.|\n)*ready to die", True),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", FAILURES)
def test_failure_is_reported(
    call: str,
    fidelity: FidelitySettings,
    corpus: Corpus,
    tmp_path: Path,
    workers: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kind, message, to_blame = FAILURES[call]
    caplog.set_level(logging.INFO, "admire_pipeline")
    with pytest.raises(kind, match=message) as failed:
        launch.run_job(make_job(call, on(fidelity, 2), corpus, tmp_path), ROOT, Points().log)
    assert failed.type is kind
    assert CampaignHooks._is_to_blame(failed.value) is to_blame
    if call.startswith("SIG"):
        assert "ready to die" in caplog.messages, "of a progress bar, the last state"


@pytest.mark.slow
def test_processes_end_when_a_point_cannot_be_logged(
    fidelity: FidelitySettings, corpus: Corpus, tmp_path: Path
) -> None:
    def refuse(metrics: Mapping[str, float], step: int) -> None:
        raise ConnectionError("the server is away")

    long = fidelity.training.model_copy(update={"evaluations": 13})
    job = make_job("train", on(fidelity, 2), corpus, tmp_path)
    job.fidelity = job.fidelity.model_copy(update={"training": long})
    with pytest.raises(ConnectionError):
        launch.run_job(job, ROOT, refuse)
    command = [sys.executable, "-c", _COUNT, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


_COUNT = """
import psutil, sys
lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
print(sum(str(sys.argv[1]) in " ".join(line) and "-c" not in line for line in lines))
"""
