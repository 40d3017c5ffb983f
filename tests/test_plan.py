"""`kedro admire plan`, which needs no network, and a step that would need it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.startup import bootstrap_project

from tests.conftest import Project

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No socket can be connected; which ones were tried. Nothing was ever downloaded."""
    tried: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "KEDRO_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return tried


def plan(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """The command on the project as it is shipped."""
    bootstrap_project(PROJECT)
    monkeypatch.chdir(PROJECT)
    command = KedroCLI(project_path=PROJECT)
    return CliRunner().invoke(command, ["admire", "plan", *arguments])


@pytest.mark.parametrize(
    ("env", "arguments", "expected"),
    [
        ("base", [], ["parameters +46,224 +131,392 +396,960", "missing nothing"]),
        ("gpu", ["--gpu", "a100"], ["1 x A100 80GB SXM", "missing nothing"]),
        (
            "tulu",
            [],
            [
                "parameters +494,032,768 +3,085,938,688 +7,615,616,512",
                "revision +060db6499f32 +3aab1f1954e9 +d14972939875",
                "tokens +<= 3,847,548,928",
                "sequences +<= 939,343",
                "allenai/tulu-3-sft-mixture +b14afda60f1b +Hub cache +missing",
                "task gsm8k +openai/gsm8k +not pinned +Hub cache +missing",
                "task mmlu +cais/mmlu ",
                "GiB of the machine +14.7 +92.0 +227.0",
                "token   not set",
                "<=      if every example were of full length",
            ],
        ),
        ("tulu", ["--example-tokens", "714"], ["sequences +163,743 +163,743 +163,743"]),
        (
            "pile",
            [],
            [
                "a trial +1,048,576,000 tokens +1,048,576,000 tokens +26,214,400,000 tokens",
                "optimizer steps +1,000 +1,000 +25,000",
                "corpus  at most 136.0 GB of tokens, and 16.0 GB of text .* 17 domains",
                "sail/regmix-data +not pinned +the Hub, as far as max_bytes +missing",
                "missing 18 of 18",
            ],
        ),
    ],
)
def test_shipped_environments_are_planned_without_the_network(
    env: str,
    arguments: list[str],
    expected: list[str],
    no_network: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = plan(monkeypatch, "--env", env, *arguments)
    assert result.exit_code == 0, result.output
    for pattern in expected:
        assert re.search(pattern, result.output), (pattern, result.output)
    assert no_network == []


def test_what_is_missing_is_no_fault(project: Project) -> None:
    (project.folder / "data/01_raw/letters.txt").unlink()
    project.set("parameters.yml", "fidelities.small.launch", {"config": "conf/none.yaml"})
    result = project.kedro("admire", "plan")
    assert result.exit_code == 0, result.output
    assert re.search(r"letters .*no file matches .*missing", result.output)
    assert re.search(r"launch of small +conf/none\.yaml .*missing", result.output)
    assert re.search(r"numbers .*1 file, 0 MB +there", result.output)
    assert "missing 2 of 4" in result.output


def test_the_token_of_the_credentials_is_seen(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, "")  # and taken back after the test
    credentials = project.folder / "conf" / "local" / "credentials.yml"
    credentials.write_text("huggingface: {token: hf_planted}\n")
    result = project.kedro("admire", "plan")
    assert re.search(r"token +set", result.output), result.output
    assert "hf_planted" not in result.output
    credentials.write_text("huggingface: {tokn: hf_planted}\n")
    result = project.kedro("admire", "plan")
    assert result.exit_code == 1
    assert "credentials.huggingface: what stands there (not shown) is not a token" in result.output


def test_what_a_step_has_built(project: Project) -> None:
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 0
    result = project.kedro("admire", "plan")
    assert re.search(r"numbers .*prepared +there", result.output), result.output


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fidelities.small.training.batch_sise", 3, "batch_sise: unknown key; did you mean"),
        ("fidelities.small.model.config.hiden_size", 3, "unknown 'hiden_size'; did you mean"),
        ("objective.weights", {"acc.quiz": 1}, "objective.weights: unknown metric 'acc.quiz'"),
    ],
)
def test_a_faulty_config_is_one_line(project: Project, key: str, value: Any, message: str) -> None:
    project.set("parameters.yml", key, value)
    result = project.kedro("admire", "plan")
    assert result.exit_code == 1
    assert message in result.output and len(result.output.strip().splitlines()) == 1


def test_memory_that_no_device_has(project: Project) -> None:
    wide = {"hidden_size": 16384, "intermediate_size": 65536, "num_hidden_layers": 20}
    for name, value in wide.items():
        project.set("parameters.yml", f"fidelities.small.model.config.{name}", value)
    result = project.kedro("admire", "plan", "--gpu", "h200")
    assert re.search(r"GiB a device .*> 131", result.output), result.output


def test_sharded_by_the_launch_config(project: Project) -> None:
    def gradients() -> float:
        result = project.kedro("admire", "plan")
        (line,) = (row for row in result.output.splitlines() if "gradients" in row)
        return float(line.split()[-1].replace(",", ""))

    for name, value in {"hidden_size": 4096, "intermediate_size": 8192}.items():
        project.set("parameters.yml", f"fidelities.small.model.config.{name}", value)
    launch = {"processes": 4, "config": "conf/fsdp.yaml"}
    project.set("parameters.yml", "fidelities.small.launch", launch)
    whole = gradients()
    (project.folder / "conf/fsdp.yaml").write_text(yaml.safe_dump({"distributed_type": "FSDP"}))
    assert gradients() == pytest.approx(whole / 4, rel=0.05)
    for text, message in (
        ("a: [", "conf/fsdp.yaml cannot be used ("),
        ("- a", "conf/fsdp.yaml cannot be used ("),
    ):
        (project.folder / "conf/fsdp.yaml").write_text(text)
        result = project.kedro("admire", "plan")
        assert result.exit_code == 1 and len(result.output.strip().splitlines()) == 1
        assert f"fidelities.small.launch.config: {message}" in result.output


def test_a_launch_that_no_machine_can_do_is_refused(project: Project) -> None:
    project.set("parameters.yml", "fidelities.small.launch", {"config": "conf/two.yaml"})
    path = project.folder / "conf/two.yaml"
    path.write_text(yaml.safe_dump({"distributed_type": "DEEPSPEED"}))
    # The package is that of the machine that it is to run on.
    assert project.kedro("admire", "plan").exit_code == 0
    path.write_text(yaml.safe_dump({"distributed_type": "FSDP"}))
    shape = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32}
    shape |= {"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 384}
    model = {"checkpoint": "team/model", "shape": shape, "lora": {"rank": 1, "alpha": 1}}
    project.set("parameters.yml", "fidelities.small.model", model)
    result = project.kedro("admire", "plan")
    assert result.exit_code == 1 and len(result.output.strip().splitlines()) == 1
    assert "fidelities.small.launch.config: conf/two.yaml spreads the model (FSDP)" in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        (
            "catalog.yml",
            "corpus.domains.letters",
            {"huggingface": "no-such-team/no-such-data"},
            "corpus.domains.letters.huggingface: cannot load 'no-such-team/no-such-data', split",
        ),
        (
            "catalog.yml",
            "corpus.tokenizer",
            "no-such-team/no-such-tokenizer",
            "corpus.tokenizer: cannot load 'no-such-team/no-such-tokenizer'",
        ),
        (
            "parameters.yml",
            "fidelities.small.model",
            {"checkpoint": "no-such-team/no-such-model"},
            "fidelities.small.model.checkpoint: 'no-such-team/no-such-model' cannot be read",
        ),
    ],
)
def test_a_step_that_cannot_reach_the_hub_says_so_in_a_line(
    project: Project, tmp_path: Path, file: str, key: str, value: Any, message: str
) -> None:
    project.set(file, key, value)
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    process = project.start("run", "--pipelines=admire_step", **{**os.environ, **environment})
    output, _ = process.communicate(timeout=120)
    (line,) = (line for line in output.splitlines() if line.startswith("Error: "))
    assert process.returncode == 1
    assert message in line
    assert "set HF_TOKEN, or `huggingface: {token: ...}` in conf/local/credentials.yml" in line
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_one_line(project: Project, tmp_path: Path) -> None:
    """Its client tries five times more, 23 s in all, and says so twice each time by itself."""
    pinned = {"huggingface": "no-such-team/no-such-data", "revision": "a" * 40}
    project.set("catalog.yml", "corpus.domains.letters", pinned)
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    process = project.start("run", "--pipelines=admire_step", HF_HUB_OFFLINE="", **environment)
    output, _ = process.communicate(timeout=180)
    (line,) = output.splitlines()
    assert process.returncode == 1
    assert line.startswith("Error: corpus.domains.letters.huggingface: cannot load 'no-such-team/")


def test_a_line_of_the_hubs_client_stands_there_once(project: Project) -> None:
    """In a process of its own: the client sets up its logging when it is first imported."""
    script = """
from pathlib import Path
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
import datasets, huggingface_hub, logging
for name in ("huggingface_hub.hf_api", "datasets.load"):
    logging.getLogger(name).warning("news of %s", name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    for name in ("huggingface_hub.hf_api", "datasets.load"):
        assert done.stderr.count(f"news of {name}") == 1, done.stderr
