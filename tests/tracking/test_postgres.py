"""A campaign whose state is kept in Postgres, with MLflow's server before it and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import psycopg
import pytest
from tests.conftest import Project
from tests.servers import NO_POSTGRES, MlflowServer, Postgres, find_postgres


def the_run(uri: str) -> Any:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


@pytest.mark.slow
def test_step_on_the_database_itself(
    project: Project, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_database)

    result = project.kedro("run", "--pipelines=admire_step")

    assert result.exit_code == 0, result.output
    run = the_run(postgres_database)
    assert run.info.status == "FINISHED" and "score" in run.data.metrics
    assert list(Path(run.info.artifact_uri.removeprefix("file://")).iterdir())


@pytest.mark.slow
def test_step_on_a_server_of_two_processes(
    project: Project, postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MlflowServer(tmp_path / "server", postgres_database, workers=2) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)

        result = project.kedro("run", "--pipelines=admire_step")

        assert result.exit_code == 0, result.output
        run = the_run(server.uri)
        assert run.info.status == "FINISHED" and "score" in run.data.metrics
        assert list(server.artifacts.rglob(f"{run.info.run_id}/artifacts/*")), "on the server"
    with psycopg.connect(postgres_database) as connection:
        rows = connection.execute("SELECT run_uuid, status FROM runs").fetchall()
    assert (run.info.run_id, "FINISHED") in rows


@pytest.mark.slow
def test_killed_servers_come_back_with_what_they_knew(tmp_path: Path) -> None:
    if find_postgres() is None:
        pytest.skip(NO_POSTGRES)
    with Postgres() as postgres:
        with MlflowServer(tmp_path / "server", postgres.create_database()) as server:
            mlflow.MlflowClient(server.uri).create_experiment("kept")
            server.kill()
            postgres.kill()
            postgres.start()
            server.start()
            assert mlflow.MlflowClient(server.uri).get_experiment_by_name("kept") is not None
