"""A real project in a folder of its own, with a little text and models of a second."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from admire_pipeline.tracking.ledger import EXPERIMENT as LEDGERS
from admire_pipeline.tracking.server import create_database
from tests import chaos as faults
from tests.servers import NO_POSTGRES, Postgres, find_postgres

# Models of a second are slower on two threads than on one, and far slower beside another load.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
ENV = "test"
CHAOS = pytest.StashKey[faults.Chaos]()
BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="faults in their full form (make chaos)")
    parser.addoption(
        "--slow-until",
        type=float,
        metavar="MINUTES",
        help="slow tests come last, and those that have not begun by then are skipped: others with "
        "each commit, as their files come in another order",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BEGAN] = time.monotonic()
    config.stash[CHAOS] = faults.Chaos(full=config.getoption("--full"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow-until") is None:
        return
    git = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(git, cwd=ROOT, capture_output=True, check=False).stdout  # noqa: S603

    def turn(item: pytest.Item) -> bytes:
        if item.get_closest_marker("slow") is None:
            return b""
        return hashlib.sha256(head + item.nodeid.partition("::")[0].encode()).digest()

    items.sort(key=turn)


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = item.config.getoption("--slow-until")
    if until is None or item.get_closest_marker("slow") is None:
        return
    if time.monotonic() - item.config.stash[BEGAN] > 60 * until:
        pytest.skip(f"slow, and {until:g} minutes have gone (--slow-until)")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    chaos = config.stash[CHAOS]
    if chaos.full and chaos.faults:
        terminalreporter.write_line(faults.table(chaos.faults))
        faults.write_table(chaos.faults, ROOT / faults.TABLE)


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> faults.Chaos:
    """Where a fault's tries are counted, and whether the full form was asked for."""
    return request.config.stash[CHAOS]


class Project:
    """A copy of the project's config with the test environment's text.

    Args:
        folder: Its own.
        env: Folder of `conf` that is changed and run.
    """

    def __init__(self, folder: Path, env: str = ENV) -> None:
        self.folder = folder
        self.env = env

    def set(self, file: str, key: str, value: Any) -> None:
        """Change one key, dotted, of a config file; None removes it."""
        path = self.folder / "conf" / self.env / file
        config = yaml.safe_load(path.read_text())
        *parents, last = key.split(".")
        at = config
        for part in parents:
            at = at.setdefault(part, {})
        if value is None:
            del at[last]
        else:
            at[last] = value
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def kedro(self, *arguments: str) -> Result:
        """The `kedro` command, in this process: heavy imports are paid once."""
        from kedro.framework.cli.cli import KedroCLI

        command = KedroCLI(project_path=self.folder)
        return CliRunner().invoke(command, [*arguments, "--env", self.env], standalone_mode=True)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The `kedro` command in a process of its own, which can be killed."""
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", *arguments, "--env", self.env],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def runs(self) -> list[Any]:
        """The MLflow runs of the campaign, oldest first."""
        from mlflow import MlflowClient

        database = self.folder / "data" / "mlflow" / "mlflow.db"
        if not database.exists():
            return []
        client = MlflowClient(f"sqlite:///{database}")
        found = client.search_experiments()
        experiments = [e.experiment_id for e in found if e.name != LEDGERS]
        return list(
            client.search_runs(
                experiments, order_by=["attributes.start_time ASC"], max_results=1000
            )
        )


def write_texts(folder: Path) -> None:
    """Three domains of a few kB that a tiny model can tell apart."""
    source = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)

    def words(alphabet: str, lines: int) -> list[str]:
        return [
            " ".join("".join(source.choices(alphabet, k=source.randint(2, 8))) for _ in range(24))
            for _ in range(lines)
        ]

    (folder / "letters.txt").write_text("\n".join(words("abcdefgh", 160)))
    (folder / "held_out.txt").write_text("\n".join(words("abcdwxyz", 60)))
    rows = [json.dumps({"text": line}) for line in words("0123456789", 160)]
    (folder / "numbers.jsonl").write_text("\n".join(rows))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take it seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    create_database(path)
    return path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """The project with its corpus built."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / ".telemetry", folder)
    (folder / "src").mkdir()  # kedro wants one; the package is the installed one
    write_texts(folder / "data" / "01_raw")
    (folder / "data" / "mlflow").mkdir()
    shutil.copy(empty_store, folder / "data" / "mlflow")
    # The first bootstrap of a process sets up logging: here, before pytest captures a test's.
    bootstrap_project(folder)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project of the test's own, as current folder."""
    folder = tmp_path / "project"
    shutil.copytree(template, folder, symlinks=True)
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "KEDRO_ENV"):
        monkeypatch.delenv(name, raising=False)
    yield Project(folder)
    kill_commands()


def kill_commands() -> None:
    """Kill each `kedro` that a test has left at work because it failed."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "kedro" in child.cmdline():
                family = child.children(recursive=True)
                child.kill()
                for process in family:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()


@pytest.fixture
def steps() -> Callable[[Project, int], None]:
    """Run so many whole steps."""

    def run(project: Project, count: int) -> None:
        for _ in range(count):
            result = project.kedro("run", "--pipelines=admire_step")
            assert result.exit_code == 0, result.output

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres server."""
    if find_postgres() is None:
        pytest.skip(NO_POSTGRES)
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_database(postgres: Postgres) -> str:
    """URI of an empty Postgres database."""
    return postgres.create_database()
