"""What docs/scheduling.md and the scheduled workflow say, run as cron, systemd and GitHub do."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient

from tests.conftest import ENV, ROOT, Project

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "admire-step.yml").read_text())
STEPS = WORKFLOW["jobs"]["step"]["steps"]
PAGE = (ROOT / "docs" / "scheduling.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def bare_environment(**values: str) -> dict[str, str]:
    """What a scheduler passes on, and what these tests themselves need."""
    kept = {k: v for k, v in os.environ.items() if k in ("HOME", "PYTHONPATH", "OMP_NUM_THREADS")}
    return {**kept, "PATH": "/usr/bin:/bin", "KEDRO_ENV": ENV, **values}


def with_environment(project: Project) -> Project:
    """The project with the training environment where a user has it."""
    (project.folder / ".venv").symlink_to(sys.prefix)
    return project


@pytest.mark.slow
def test_the_line_of_a_crontab(project: Project) -> None:
    (line,) = blocks("cron")
    schedule, command = re.fullmatch(r"((?:\S+ ){5})(.+)\n", line).groups()
    assert schedule == "*/10 * * * * " and "%" not in command, "cron makes a new line of %"
    command = command.replace("/srv/campaign", str(with_environment(project).folder))

    def run() -> int:
        environment = bare_environment()
        return subprocess.run(["/bin/sh", "-c", command], env=environment, check=False).returncode

    with (project.folder / "data" / "step.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run() == 1, "another step is under way"
    assert project.runs() == []
    log = project.folder / "data" / "step.log"
    assert run() == 0, log.read_text()
    assert [run.info.status for run in project.runs()] == ["FINISHED"]
    assert "predicted score" in log.read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_the_units_of_systemd(project: Project, tmp_path: Path) -> None:
    folder = with_environment(project).folder
    for unit in blocks("ini"):
        name = re.match(r"# /etc/systemd/system/(\S+)\n", unit).group(1)
        (tmp_path / name).write_text(unit.replace("/srv/campaign", str(folder)))
    names = ["admire-step.service", "admire-step.timer"]
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_workflow_may_little_and_takes_nothing_into_a_shell() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read", "actions": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False
    assert set(WORKFLOW["jobs"]) == {"step"}
    for step in STEPS:
        assert re.search(r"@[0-9a-f]{40}$", step.get("uses", f"@{'0' * 40}")), step
        assert "${{" not in step.get("run", ""), "an input would be a part of the command"


def test_checkpoints_are_read_from_where_they_are_kept() -> None:
    trials = [s for s in STEPS if s.get("with", {}).get("path") == "data/06_models/trials"]
    restore, download, save, upload = trials
    assert download["with"]["name"] == upload["with"]["name"]
    assert upload["if"].startswith("always()"), "also after a failure or a cancelled job"
    left = named("Keep unfinished trials alone")
    order = [
        STEPS.index(each) for each in (restore, download, named("One step"), left, save, upload)
    ]
    assert order == sorted(order), (
        "what was named replaces the cache's; finished trials are left out"
    )
    assert save["if"] == "always()" and save["with"]["key"] == restore["with"]["key"]
    assert restore["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert "run_id" in save["with"]["key"], "GitHub never overwrites a key"
    script = named("One step")["env"]["SECONDS_AT_MOST"]
    assert script + 600 < WORKFLOW["jobs"]["step"]["timeout-minutes"] * 60


def test_a_step_without_a_server_is_refused(project: Project) -> None:
    status, output = Script(project, "One step", MLFLOW_TRACKING_URI="").wait()
    assert status == 1
    assert "::error::the secret MLFLOW_TRACKING_URI is missing" in output


@pytest.mark.slow
def test_a_step_out_of_time_is_finished_on_the_next_machine(
    project: Project, template: Path, tmp_path: Path
) -> None:
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.tokens", 262144)
    other = Project(tmp_path / "other")
    shutil.copytree(template, other.folder)
    shutil.copytree(project.folder / "conf", other.folder / "conf", dirs_exist_ok=True)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    trials = project.folder / "data" / "06_models" / "trials"

    script = Script(with_environment(project), "One step", MLFLOW_TRACKING_URI=uri)
    script.wait_for(trials, "*/checkpoints/checkpoint-*/complete")
    (timeout,) = psutil.Process(script.process.pid).children()
    assert timeout.name() == "timeout"
    timeout.send_signal(signal.SIGALRM)  # its own: time is up
    status, output = script.wait()
    assert status == 0 and "::notice::out of time" in output, output
    (left,) = runs(uri)
    assert left.info.status == "KILLED"
    (trials / ("0" * 32)).mkdir()  # a finished one
    assert Script(project, "Keep unfinished trials alone").wait()[0] == 0
    assert [path.name for path in trials.iterdir()] == [left.info.run_id]

    moved = other.folder / "data" / "06_models" / "trials"
    shutil.copytree(trials, moved)
    shutil.rmtree(project.folder / "data" / "06_models")
    status, output = Script(with_environment(other), "One step", MLFLOW_TRACKING_URI=uri).wait()
    assert status == 0 and "resuming from checkpoint-" in output, output
    (run,) = runs(uri)
    assert (run.info.run_id, run.info.status) == (left.info.run_id, "FINISHED")
    assert Script(other, "Keep unfinished trials alone").wait()[0] == 0
    assert list(moved.iterdir()) == []


class Script:
    """The shell of a step of the workflow, as GitHub runs it, with secrets that are not set."""

    def __init__(self, project: Project, name: str, **environment: str) -> None:
        step = named(name)
        given = {key: "" if "${{" in str(v) else str(v) for key, v in step.get("env", {}).items()}
        self._log = project.folder / "script.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/env", "bash", "-e", "-c", step["run"]],
                cwd=project.folder,
                env=bare_environment(**{**given, **environment}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> tuple[int, str]:
        return self.process.wait(300), self._log.read_text()

    def wait_for(self, folder: Path, pattern: str) -> None:
        deadline = time.monotonic() + 200
        while not any(folder.glob(pattern)):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)


def named(name: str) -> dict[str, Any]:
    return next(step for step in STEPS if step.get("name") == name)


def runs(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    return list(client.search_runs([client.get_experiment_by_name("test").experiment_id]))
