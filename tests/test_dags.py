"""The DAGs on a real Airflow, which `make airflow-test` installs in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pytest

from tests.conftest import ENV, ROOT, Project

AIRFLOW = Path(os.environ.get("ADMIRE_AIRFLOW", ROOT / ".airflow/venv/bin/airflow")).absolute()
KEDRO = Path(sys.executable).with_name("kedro")

pytestmark = pytest.mark.skipif(
    not AIRFLOW.exists(), reason="no Airflow here; `make airflow-test` installs one for these tests"
)


class Command:
    """A process that is not left behind, with its output in a file."""

    def __init__(self, command: list[Any], folder: Path, environment: dict[str, str]) -> None:
        self._output = TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, seconds: float = 900) -> tuple[int, str]:
        """Exit status and output."""
        try:
            status = self.process.wait(seconds)
        finally:
            self.stop()
        return status, self.output()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 400) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Airflow:
    """An Airflow with a home and a database of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "ADMIRE_RETRY_SECONDS": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def start(self, *arguments: str) -> Command:
        return Command([AIRFLOW, *arguments], self.home, self.environment)

    def run(self, *arguments: str) -> str:
        status, output = self.start(*arguments).wait()
        assert status == 0, output
        return output

    def test(self, dag: str, **params: Any) -> Command:
        """A whole run of a DAG, its tasks one after the other."""
        return self.start("dags", "test", dag, "--conf", json.dumps({"env": ENV, **params}))

    def tasks(self) -> dict[str, list[tuple[str, int]]]:
        """State and tries of the instances of each task, of the latest run."""
        found: dict[str, list[tuple[str, int]]] = {}
        for task, state, tries in self.query(
            "SELECT task_id, state, try_number FROM task_instance WHERE run_id = (SELECT run_id "
            "FROM dag_run ORDER BY id DESC LIMIT 1) ORDER BY map_index"
        ):
            found.setdefault(task, []).append((state, tries))
        return found

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=30)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("airflow")
    Airflow(home).run("db", "migrate")
    return home


@pytest.fixture
def airflow(migrated: Path, tmp_path: Path, project: Project) -> Airflow:
    home = tmp_path / "airflow"
    shutil.copytree(migrated, home, ignore=shutil.ignore_patterns("airflow.cfg"))
    airflow = Airflow(home)
    airflow.environment["AIRFLOW_VAR_ADMIRE_PROJECT"] = str(project.folder)
    airflow.environment["AIRFLOW_VAR_ADMIRE_KEDRO"] = str(KEDRO)
    return airflow


READ_DAGS = """
import copy, json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError
bag = DagBag(sys.argv[1])
def refused(dag, given):
    params = copy.deepcopy(bag.dags[dag].params)
    try:
        params.update(given)
        params.validate()
    except ParamValidationError:
        return True
    return False
def describe(dag):
    limits = {task.task_id: task.max_active_tis_per_dagrun for task in dag.tasks}
    return {"schedule": dag.schedule, "catchup": dag.catchup, "runs": dag.max_active_runs,
            "limits": limits}
print(json.dumps({"errors": bag.import_errors,
                  "dags": {name: describe(dag) for name, dag in bag.dags.items()},
                  "refused": [refused(*case) for case in json.loads(sys.argv[2])]}))
"""
GOOD = [
    ("admire_campaign", {}),
    ("admire_campaign", {"env": "tulu", "steps": 1000, "budget": 2.5, "parallelism": 16}),
    ("admire_step", {"env": "my-own_1", "budget": 1}),
]
BAD = [
    ("admire_campaign", {"steps": 0}),
    ("admire_campaign", {"steps": 1001}),
    ("admire_campaign", {"steps": "1"}),
    ("admire_campaign", {"parallelism": 3}),
    ("admire_campaign", {"budget": 0}),
    ("admire_step", {"budget": "1; touch x"}),
    ("admire_step", {"env": "x; touch x"}),
    ("admire_step", {"env": "$(touch x)"}),
    ("admire_step", {"env": "../other"}),
    ("admire_step", {"env": "--help"}),
    ("admire_step", {"env": "{{ conn.get('x') }}"}),
]


def test_the_dags_are_read_and_their_params_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cheap part, also in the normal suite: no run, no database."""
    environment = {**Airflow(tmp_path).environment, "ADMIRE_SCHEDULE": "5 * * * *"}
    command = [AIRFLOW.with_name("python"), "-c", READ_DAGS, ROOT / "dags", json.dumps(GOOD + BAD)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    read = json.loads(process.stdout.splitlines()[-1])
    assert read["errors"] == {}
    assert read["refused"] == [False] * len(GOOD) + [True] * len(BAD)
    step, campaign = read["dags"]["admire_step"], read["dags"]["admire_campaign"]
    assert (step["schedule"], step["catchup"], step["runs"]) == ("5 * * * *", False, 1)
    limits = {name: n for name, n in campaign["limits"].items() if name.startswith("steps_")}
    assert limits == {f"steps_{n}_at_once": n for n in (1, 2, 4, 8, 16)}
    assert campaign["schedule"] is None


@pytest.mark.airflow
def test_a_campaign_ends_green_when_its_budget_is_spent(airflow: Airflow, project: Project) -> None:
    # The project's own environment is found without any setting.
    (project.folder / ".venv").symlink_to(sys.prefix)
    del airflow.environment["AIRFLOW_VAR_ADMIRE_KEDRO"]
    assert "No data found" in airflow.run("dags", "list-import-errors")

    status, output = airflow.test("admire_campaign", steps=3, budget=0.5).wait()

    assert status == 0, output
    # The first trial costs more than the budget: the second step finds it spent, the third has
    # only to ask the second.
    # In which order the steps are taken is Airflow's choice.
    states = airflow.tasks()
    steps = sorted(states.pop("steps_1_at_once"))
    assert steps == [("skipped", 1), ("success", 1), ("success", 1)]
    assert {n: s for n, ((s, _),) in states.items()} == {
        "numbers": "success",
        "limit": "success",
        **{f"steps_{n}_at_once": "skipped" for n in (2, 4, 8, 16)},
        "all_steps": "success",
        "report": "success",
    }
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert "campaign  test: trials 1 observed" in output
    assert "spent 1.000 of 0.5 in 1 trials" in output
    kept = project.folder / "data" / "08_reporting" / "recommendation.json"
    kept.unlink()

    status, output = airflow.test("admire_campaign", steps=2, budget=0.5).wait()

    assert status == 0, output
    assert sorted(airflow.tasks()["steps_1_at_once"]) == [("skipped", 1), ("success", 1)]
    assert len(project.runs()) == 1, "nothing is computed once the budget is spent"
    assert kept.exists(), "the report is made all the same"


@pytest.mark.airflow
def test_a_killed_step_is_finished_by_the_retry(airflow: Airflow, project: Project) -> None:
    for fidelity in ("nano", "small"):
        project.set("parameters.yml", f"fidelities.{fidelity}.training.tokens", 262144)
    run = airflow.test("admire_step")
    trials = project.folder / "data" / "06_models" / "trials"
    run.wait_for(lambda: any(trials.glob("*/checkpoints/checkpoint-*/complete")))
    (kedro,) = (
        child
        for child in psutil.Process(run.process.pid).children(recursive=True)
        if "--pipelines=admire_step" in child.cmdline()
    )
    kedro.kill()

    status, output = run.wait()

    assert status == 0, output
    assert airflow.tasks() == {"step": [("success", 2)]}
    assert "resuming from checkpoint-" in output
    (trial,) = project.runs()
    assert trial.info.status == "FINISHED"


@pytest.mark.airflow
def test_a_run_without_anything_to_report_is_red(airflow: Airflow, project: Project) -> None:
    project.set("parameters.yml", "search.policy", "admier")
    status, output = airflow.test("admire_campaign", steps=1).wait()
    assert status != 0
    assert "did you mean 'admire'" in output
    states = airflow.tasks()
    assert states["steps_1_at_once"] == [("failed", 4)], "three retries"
    assert states["all_steps"] == [("upstream_failed", 0)]
    assert [state for state, _ in states["report"]] == ["failed"]
    assert project.runs() == []


@pytest.mark.airflow
def test_a_failed_step_is_not_hidden_by_the_report(
    airflow: Airflow, project: Project, steps: Callable[[Project, int], None]
) -> None:
    steps(project, 1)
    project.set("parameters.yml", "fidelities.nano.launch", {"config": "gone.yaml"})
    status, output = airflow.test("admire_campaign", steps=1).wait()
    assert status != 0
    assert "fidelities.nano.launch.config: gone.yaml cannot be used" in output
    states = airflow.tasks()
    assert [state for state, _ in states["steps_1_at_once"]] == ["failed"]
    assert [state for state, _ in states["report"]] == ["success"], output


@pytest.mark.airflow
def test_the_scheduler_runs_as_many_steps_at_once_as_asked_for(
    airflow: Airflow, project: Project
) -> None:
    with scheduler(airflow):
        airflow.run("dags", "reserialize")
        airflow.run("dags", "unpause", "admire_campaign")
        conf = {"env": ENV, "steps": 3, "parallelism": 2, "budget": 100}
        airflow.run("dags", "trigger", "admire_campaign", "--conf", json.dumps(conf))
        deadline = time.monotonic() + 900
        while airflow.query("SELECT state FROM dag_run") != [("success",)]:
            assert time.monotonic() < deadline, airflow.tasks()
            assert airflow.query("SELECT state FROM dag_run") != [("failed",)], airflow.tasks()
            time.sleep(1)
    assert airflow.tasks()["steps_2_at_once"] == [("success", 1)] * 3
    runs = project.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    busy = airflow.query(
        "SELECT start_date, end_date FROM task_instance WHERE task_id = 'steps_2_at_once'"
    )
    overlaps = [sum(a <= start < b for a, b in busy) for start, _ in busy]
    assert max(overlaps) == 2


@contextmanager
def scheduler(airflow: Airflow) -> Iterator[None]:
    """All that runs a DAG by itself: API server, DAG processor, scheduler with local executor."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    api = f"http://127.0.0.1:{port}"
    airflow.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{api}/execution/"
    airflow.environment["AIRFLOW__CORE__EXECUTOR"] = "LocalExecutor"
    airflow.environment["AIRFLOW__CORE__PARALLELISM"] = "4"
    airflow.run("config", "list")  # writes the home's config once, with the secret they share
    commands = [
        ("api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"),
        ("dag-processor",),
        ("scheduler", "--skip-serve-logs"),
    ]
    servers = [airflow.start(*command) for command in commands]
    try:
        servers[0].wait_for(lambda: answers(f"{api}/api/v2/version"))
        yield
    finally:
        for server in servers:
            server.stop()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
