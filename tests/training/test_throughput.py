"""The benchmarks of training speed run, whatever they would print on a GPU."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from transformers import AutoConfig, AutoModelForCausalLM

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.estimate import estimate_memory
from admire_pipeline.training.settings import (
    FidelitySettings,
    LaunchSettings,
    ModelSettings,
    TrainingSettings,
)

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("throughput", "gpu_check"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module("gpu_check")


@pytest.mark.slow
def test_a_trial_is_measured_beside_a_bare_loop(
    gpu_check: ModuleType,
    model_settings: ModelSettings,
    recipe: TrainingSettings,
    corpus: Corpus,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fidelity = FidelitySettings(cost=1, model=model_settings, training=recipe)
    gpu_check.compare({"tiny": fidelity}, corpus, steps=6, rounds=1)
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "fidelity"
    found = re.fullmatch(r"tiny +([\d,]+) +([\d,]+) +(\d+\.\d+) +(\S+) +(\S+) +(\S+)", line)
    assert found, line
    trial, bare = (float(number.replace(",", "")) for number in found.groups()[:2])
    # Rounded when printed.
    assert trial > 0 and float(found[3]) == pytest.approx(trial / bare, abs=0.01)


def test_memory_is_held_to_the_plans_of_one_device(
    gpu_check: ModuleType, model_settings: ModelSettings, recipe: TrainingSettings, corpus: Corpus
) -> None:
    fidelity = FidelitySettings(cost=1, model=model_settings, training=recipe)
    throughput = sys.modules["throughput"]
    shape = throughput.model_shape(fidelity, corpus)
    peak = 3 * 2**30
    ratio = peak / estimate_memory(shape, fidelity).total
    assert throughput.memory(shape, fidelity, peak).split() == ["3.0", f"{ratio:.2f}"]
    spread = fidelity.model_copy(update={"launch": LaunchSettings(processes=2)})
    assert throughput.memory(shape, spread, peak) == throughput.memory(shape, fidelity, peak)
    assert throughput.memory(shape, fidelity, 0).split() == ["-", "-"]


def test_the_shape_of_qwen_is_qwens(gpu_check: ModuleType) -> None:
    """It has the parameters of the checkpoint on the Hub."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**gpu_check.QWEN.config))
    assert model.num_parameters() == 494_032_768


def test_a_launched_trial_is_one_of_the_gpu_environments_models(gpu_check: ModuleType) -> None:
    """What the check changes of `conf/gpu` is valid there, for every file it is made for."""
    bootstrap_project(gpu_check.PROJECT)
    with KedroSession.create(gpu_check.PROJECT, env="gpu") as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
    configs = gpu_check.launch_configs(catalog.load("params:fidelities").root[gpu_check.LAUNCHED])
    assert "conf/accelerate/fsdp.yaml" in configs
    for config in (None, *configs):
        params = gpu_check.launched(config)
        with KedroSession.create(gpu_check.PROJECT, env="gpu", runtime_params=params) as session:
            catalog = session.load_context().catalog  # type: ignore[attr-defined]
        fidelity = catalog.load("params:fidelities").root[gpu_check.LAUNCHED]
        assert fidelity.launch.config == config
        assert fidelity.launch.in_process == (config is None)
        assert fidelity.training.tokens == 2**21, "minutes at most"
        assert catalog.load("params:campaign").name != "gpu-check", "not in that campaign's history"
        assert catalog.load("params:worker").fidelities == (gpu_check.LAUNCHED,)
