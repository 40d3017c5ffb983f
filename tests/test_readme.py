"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from admire_pipeline.training.corpus import check_settings
from admire_pipeline.training.objective import ObjectiveSettings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_own_data_is_a_valid_config() -> None:
    corpus, objective = (yaml.safe_load(block) for block in blocks("yaml"))
    settings = {k: v for k, v in corpus["corpus"].items() if k not in ("type", "filepath")}
    checked = check_settings(settings)
    weights = ObjectiveSettings.model_validate(objective["objective"]).weights or {}
    measured = {f"bits_per_byte.{n}" for n, d in checked.domains.items() if d.use != "train"}
    assert set(weights) <= measured


def test_library_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (block for block in blocks("python") if "make_policy" in block)
    exec(example, {})  # noqa: S102 - our own README
    assert "Proposal(mixture=array(" in capsys.readouterr().out


def test_commands_are_known() -> None:
    from admire_pipeline.cli import cli
    from admire_pipeline.pipeline_registry import register_pipelines

    known = register_pipelines()
    group = cli.commands["admire"]
    assert isinstance(group, click.Group)
    shown = re.findall(r"^(?:kedro|`kedro) .*|`kedro [^`]+`", README, flags=re.MULTILINE)
    assert len(shown) > 5
    for line in shown:
        words = line.strip("`").split("#")[0].split()[1:]
        if words[0] == "admire":
            command = group.commands[words[1].strip("`")]
            command.make_context("x", [word.strip("`") for word in words[2:]])
        else:
            assert words[0] == "run" and words[1].split("=")[1].strip("`") in known


def test_files_and_commands_exist() -> None:
    for path in re.findall(r"`(conf/base/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\((docs/[\w.]+)\)", README):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
