"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path

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
    exec(example, {})
    assert "Proposal(mixture=array(" in capsys.readouterr().out


def test_files_and_commands_exist() -> None:
    for path in re.findall(r"`(conf/base/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\((docs/[\w.]+)\)", README):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
