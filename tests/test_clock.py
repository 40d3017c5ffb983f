"""A clock that jumps: no trial is taken from a worker that lives, and no figure is wrong by it."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.tracking import run_format
from tests.chaos import Chaos
from tests.conftest import Project
from tests.histories import is_held_by, runs_of
from tests.test_by_force import Workers, check_history, one_more
from tests.test_crash import mlflow_client

FOLDER = Path(__file__).parent / "false_clock"
HOUR = 3600.0
LONG = 600.0
"""Seconds that no part of a trial takes here, and less than a jump."""


class Clock:
    """The clock of a process, to be set from here.

    Args:
        file: Where the process looks.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wrong = 0.0
        path = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {"PYTHONPATH": os.pathsep.join(path), "FALSE_CLOCK": str(file)}

    def jump(self, seconds: float) -> None:
        """Set it so many seconds forward; it is done once this returns."""
        self._wrong += seconds
        aside = self._file.with_suffix(".new")
        aside.write_text(str(self._wrong))
        aside.replace(self._file)
        done = Path(f"{self._file}.set")
        wait(lambda: done.exists() and done.read_text() == str(self._wrong))


def wait(condition: Callable[[], Any], seconds: float = 240) -> Any:
    """Wait until there is something; what it is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)
    return found


def durations(run: Any) -> dict[str, float]:
    """How long the trial and its parts took, in seconds."""
    parts = {key: value for key, value in run.data.metrics.items() if "seconds" in key}
    assert {"training_seconds", "evaluation_seconds", "seconds.train_model"} <= set(parts)
    return parts


def was_taken(run: Any) -> bool:
    """Whether another worker has taken it from one that had not given it back."""
    return "lease.1" in run.data.params and "admire.given_back.0" not in run.data.tags


@pytest.mark.slow
@pytest.mark.chaos
def test_clock_of_a_worker_jumps_an_hour(project: Project, chaos: Chaos, tmp_path: Path) -> None:
    """Forward and back, while it trains and while it proposes; beside it works another one."""
    jumps = 16 if chaos.full else 2
    fault = chaos.fault("the clock of a worker jumps an hour, with another worker beside it")
    rng = random.Random(12)
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.tokens", 131072)
    project.set("parameters.yml", "campaign.heartbeat_timeout", 20)
    clock = Clock(tmp_path / "clock")
    client = mlflow_client(project)
    workers = Workers(project, 1000)
    victim = workers.start(**clock.environment)
    beside = workers.start()

    def does(run: Any, proposing: bool) -> bool:
        """Whether the victim proposes, or trains, in this run."""
        if run.info.status != "RUNNING" or not is_held_by(run, victim.pid):
            return False
        folder = project.folder / "data/06_models/trials" / run.info.run_id
        trains = any(folder.glob("checkpoints/checkpoint-*/complete"))
        return run_format.is_draft(run) if proposing else trains

    def at_work(proposing: bool) -> Any:
        for worker in (victim, beside):
            assert worker.poll() is None, worker.communicate()
        return next((run for run in runs_of(client) if does(run, proposing)), None)

    met = 0
    for number in range(jumps):
        proposing = number % 2 == 0
        run = wait(lambda: at_work(proposing))  # noqa: B023 - called here
        time.sleep(rng.uniform(0, 0.5) if chaos.full else 0)
        # In the short form forward while it proposes, back while it trains.
        clock.jump(HOUR * (rng.choice([1, -1]) if chaos.full else 1 - 2 * number))
        met += does(client.get_run(run.info.run_id), proposing)
        with fault.recovering():
            wait(lambda: client.get_run(run.info.run_id).info.status == "FINISHED")  # noqa: B023
    assert met >= jumps / 2, "most jumps fall in what they are meant for"
    workers.interrupt(victim, beside)
    runs = runs_of(client)
    fault.duplicated += sum(map(was_taken, runs))
    assert fault.duplicated == 0, "no trial is taken from a worker that lives"

    printed = workers.printed + one_more(project, client)
    runs = check_history(client, printed, 2, fault)
    assert not re.search("silent|taken it over", "".join(workers.printed))
    for number, run in enumerate(runs, 1):
        assert run.info.run_name.startswith(f"trial-{number:03d}-")
        assert all(0 <= seconds < LONG for seconds in durations(run).values()), durations(run)
        assert run.info.start_time <= run.info.end_time, "as MLflow shows it"
        seen = set(filter(None, run.data.tags["admire.based_on"].split(",")))
        assert seen <= {earlier.info.run_id for earlier in runs[: number - 1]}
