"""A real disk that is full in the midst of a training."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import Chaos
from tests.conftest import Project
from tests.histories import tally
from tests.test_crash import (  # noqa: F401 - a fixture
    STEP,
    mlflow_client,
    slow_training,
    there,
    wait_for,
)

CHECKPOINT = 1 << 16
"""Bytes; less than one of the smallest model."""


@pytest.fixture
def small_disk(slow_training: Project) -> Iterator[Path]:  # noqa: F811
    """A disk of 8 MB for the trials' folders."""
    folder = slow_training.folder / "data" / "06_models"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"only root may mount a small disk ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, but: int = 0) -> None:
    """Fill the disk to the last byte, or but for so many."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue
    os.truncate(path, path.stat().st_size - but)


@pytest.mark.slow
@pytest.mark.chaos
def test_disk_that_fills_in_mid_training(
    slow_training: Project,  # noqa: F811
    small_disk: Path,
    chaos: Chaos,
    caplog: pytest.LogCaptureFixture,
) -> None:
    project = slow_training
    fault = chaos.fault("the disk fills while checkpoints are written, after a random byte")
    chance = random.Random(14)
    project.set("parameters.yml", "campaign.budget", 20)
    for number in range(1, (10 if chaos.full else 1) + 1):
        process = project.start(*STEP)
        wait_for(there(project, "checkpoints/checkpoint-*/complete"), process, 300)
        # The next checkpoint takes more.
        fill(small_disk / "filler", chance.randrange(CHECKPOINT) if number > 1 else 0)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 1
        assert "Traceback" not in output, output
        lines = [line for line in output.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1 and "GB free" in output, output
        left = project.runs()[-1]
        assert left.info.status == "KILLED" and left.data.tags["admire.resumable"] == "true"
        (small_disk / "filler").unlink()
        caplog.clear()
        with fault.recovering():
            result = project.kedro(*STEP)
        assert result.exit_code == 0, result.output
        fault.lost += "resuming from checkpoint-" not in caplog.text
        runs = tally(mlflow_client(project), fault)
        assert (fault.lost, fault.duplicated) == (0, 0)
        assert len(runs) == number and runs[-1].info.run_id == left.info.run_id
