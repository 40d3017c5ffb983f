"""The image and the services of compose.yaml: what they hold, and that a campaign runs on them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT, write_texts
from tests.containers import Composition, Container, Image, interpolate, read_dockerfile, why_not
from tests.servers import DEADLINE, NO_POSTGRES, find_postgres

PASSWORD = "p@ss:w/ord?%"
# In the container of the database itself its clients need neither.
CLIENT = {"PGHOST": "postgres", "PGPASSWORD": PASSWORD}
EXAMPLE = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as people have it: with text, a campaign, and secrets that git ignores."""
    folder = tmp_path_factory.mktemp("containers") / "project"
    names = ["Dockerfile", "compose.yaml", ".dockerignore", ".telemetry", "pyproject.toml"]
    for name in [*names, "requirements.lock"]:
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder)
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, folder / name)
    write_texts(folder / "data" / "01_raw")
    for secret in (".env", "conf/local/credentials.yml", "conf/test/credentials.yml", "data/x"):
        (folder / secret).write_text("secret")
    return folder


def services(**environment: str) -> dict:
    file = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return interpolate(file["services"], EXAMPLE | environment)


def test_image_holds_no_secrets_and_all_that_is_needed(checkout: Path, tmp_path: Path) -> None:
    image = Image(checkout, tmp_path / "image")
    held = {str(path.relative_to(image.folder)) for path in image.folder.rglob("*")}
    assert not [path for path in held if "credentials.yml" in path or ".env" in path]
    assert not list((image.folder / "data").iterdir())
    assert {"pyproject.toml", ".telemetry", "conf/local/.gitkeep", "conf/base/catalog.yml"} <= held
    assert "src/admire_pipeline/cli.py" in held
    assert int(image.user) > 0, "root"


def test_every_package_of_the_image_is_locked() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {line.partition("==")[0] for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = project["dependencies"] + project["optional-dependencies"]["postgres"]
    seen = {"setuptools"}  # which no lock holds
    while waiting:
        needed = Requirement(waiting.pop())
        name = canonicalize_name(needed.name)
        assert name in locked | seen, name
        for extra in {"", *needed.extras}:
            if f"{name}[{extra}]" not in seen:
                seen.add(f"{name}[{extra}]")
                further = map(Requirement, requires(name) or ())
                waiting += [
                    str(r)
                    for r in further
                    if r.marker is None or r.marker.evaluate({"extra": extra})
                ]
    assert "psycopg-binary[]" in seen and "pytest[]" not in seen


def test_torch_follows_the_device() -> None:
    stages = read_dockerfile((ROOT / "Dockerfile").read_text())
    names = {stage[0][1].rpartition(" AS ")[2]: dict(stage) for stage in stages[:-1]}
    assert names["cpu"]["ENV"] == "UV_TORCH_BACKEND=cpu"
    # What torch's wheels and the base are for: CUDA a.b stands in both.
    (cuda,) = re.findall(r"nvidia/cuda:(\d+)\.(\d+)", names["cuda"]["FROM"])
    assert names["cuda"]["ENV"] == f"UV_TORCH_BACKEND=cu{''.join(cuda)}"


def test_password_has_no_default() -> None:
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD: set it in .env"):
        services()
    ignored = ["git", "check-ignore", "-q", ".env"]
    assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


def test_only_this_machine_reaches_mlflow_and_only_mlflow_the_database() -> None:
    made = services(POSTGRES_PASSWORD=PASSWORD)
    ports = [port for service in made.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:5000:5000"]
    assert made["postgres"]["networks"] == ["database"]
    assert "networks" not in made["worker"] and "default" in made["mlflow"]["networks"]
    assert PASSWORD not in str(made["worker"])


def test_workers_can_be_scaled() -> None:
    worker = services(POSTGRES_PASSWORD=PASSWORD)["worker"]
    assert not {"hostname", "container_name", "pid", "ports", "network_mode"} & worker.keys()


@pytest.fixture(scope="module")
def composition(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    if reason := why_not():
        pytest.skip(reason)
    if find_postgres() is None:
        pytest.skip(NO_POSTGRES)
    # As .env.example says, and as a user of the test's models would have it.
    own = {"POSTGRES_PASSWORD": PASSWORD, "KEDRO_ENV": "test", "OMP_NUM_THREADS": "1"}
    environment = EXAMPLE | own | {"BUDGET": "2", "HF_TOKEN": "hf_planted"}
    environment |= {"PUBLIC_HOST": "mlflow.example.org"}
    with Composition(checkout, environment, tmp_path_factory.mktemp("composition")) as made:
        yield made


def query(composition: Composition, sql: str) -> list[list[str]]:
    command = ["psql", "--username=admire", "--dbname=mlflow", "-AtF", "\t", "-c", sql]
    lines = composition.execute("postgres", *command, **CLIENT).decode().splitlines()
    return [line.split("\t") for line in lines]


def trials(composition: Composition, campaign: str) -> dict[str, str]:
    """Status of each run of a campaign, in the database."""
    runs = "SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id)"
    # A worker removes the run that it had begun where another one got the trial's number.
    kept = f"experiments.name = '{campaign}' AND runs.lifecycle_stage = 'active'"
    return dict(query(composition, f"{runs} WHERE {kept}"))


def wait_until(happened: Callable[[], object], container: Container) -> None:
    deadline = time.monotonic() + DEADLINE
    while not happened():
        assert container.runs() and time.monotonic() < deadline, container.output()
        time.sleep(0.2)


@pytest.mark.slow
def test_workers_share_a_campaign(composition: Composition) -> None:
    with composition.up("worker") as one, composition.up("worker") as other:
        assert one.wait() == 0, one.output()
        assert other.wait() == 0, other.output()

    outputs = [one.output(), other.output()]
    assert all("budget is spent" in output for output in outputs)
    assert "error" not in str(outputs).lower()
    assert not [secret for secret in (PASSWORD, "hf_planted") if secret in str(outputs)]
    runs = trials(composition, "test")
    assert len(runs) >= 2 and set(runs.values()) == {"FINISHED"}
    for run in runs:
        assert list(composition.volumes["artifacts"].rglob(f"{run}/artifacts/*")), "on the server"
        assert (composition.volumes["data"] / "06_models" / "trials" / run).is_dir()


@pytest.mark.slow
def test_stopped_worker_leaves_its_trial_to_the_next(
    composition: Composition, checkout: Path
) -> None:
    parameters = checkout / "conf" / "test" / "parameters.yml"
    config = yaml.safe_load(parameters.read_text())
    config["campaign"]["name"] = "stopped"
    for fidelity in config["fidelities"].values():
        fidelity["training"]["tokens"] = 400_000
    parameters.write_text(yaml.safe_dump(config))
    folder = composition.volumes["data"] / "06_models" / "trials"
    with composition.up("worker") as worker:
        wait_until(
            lambda: any(
                list(folder.glob(f"{run}/checkpoints/*")) for run in trials(composition, "stopped")
            ),
            worker,
        )

        assert worker.stop() == 1, worker.output()

    assert "interrupted" in worker.output() and "Traceback" not in worker.output()
    ((run, status),) = trials(composition, "stopped").items()
    assert status == "KILLED"
    with composition.up("worker") as successor:
        wait_until(lambda: trials(composition, "stopped")[run] == "FINISHED", successor)
        assert "taking it up again" in successor.output()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "mlflow:5000"}, 200),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 200),
        ({"Host": "mlflow.example.org", "Origin": "https://mlflow.example.org"}, 200),
        ({"Host": "evil.example:5000"}, 403),
        ({"Host": "localhost:5000", "Origin": "https://evil.example"}, 403),
    ],
)
def test_server_answers_to_its_own_names_and_pages_alone(
    composition: Composition, headers: dict[str, str], status: int
) -> None:
    composition.need("mlflow")
    url = "http://mlflow:5000/api/2.0/mlflow/experiments/search"
    request = f"requests.post({url!r}, json={{'max_results': 1}}, headers={headers})"
    code = f"import requests; print({request}.status_code)"
    assert int(composition.execute("worker", "python", "-c", code)) == status


@pytest.mark.slow
def test_worker_writes_to_its_volumes_alone(composition: Composition) -> None:
    places = [".", "conf", "src", "data", "data/01_raw", "/artifacts", "/tmp", "/"]
    code = f"import os; print([place for place in {places} if os.access(place, os.W_OK)])"
    assert composition.execute("worker", "python", "-c", code) == b"['data', '/tmp']\n"


@pytest.mark.slow
def test_backup_restores_and_database_upgrades(composition: Composition, tmp_path: Path) -> None:
    composition.need("mlflow")
    code = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_text("kept", "note.txt")
    mlflow.log_metric("score", 0.1)
"""
    server = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    composition.execute("worker", "python", "-c", code, **server)
    (note,) = composition.volumes["artifacts"].rglob("note.txt")
    score = "SELECT value FROM metrics WHERE key = 'score' ORDER BY run_uuid"
    before = query(composition, score)

    text = (ROOT / "docs" / "deployment.md").read_text()
    commands = re.findall(r"^docker compose (?:exec -T|run --rm(?: -T)?) (\w+) (.+)$", text, re.M)
    programs = [command.split()[0] for _, command in commands]
    assert programs == ["pg_dump", "tar", "pg_restore", "tar", "mlflow"]
    for service, command in commands:
        words, mark, file = re.fullmatch(r"([^<>]+)([<>]?)(.*)", command).groups()
        copy = tmp_path / file.strip()
        if words.startswith("pg_restore"):
            query(composition, "DELETE FROM metrics")
            note.unlink()
        stdin = copy if mark == "<" else None
        output = composition.execute(service, *shlex.split(words), stdin=stdin, **CLIENT)
        if mark == ">":
            copy.write_bytes(output)

    assert query(composition, score) == before and before
    assert note.read_text() == "kept"
