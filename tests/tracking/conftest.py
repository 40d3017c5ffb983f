"""A store of the test's own; MLflow takes seconds to make a database, so it is made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from admire_pipeline.tracking import CampaignSettings
from admire_pipeline.tracking.server import STORE_FOLDER, connect
from admire_pipeline.tracking.store import CampaignStore

CONFIG = {"campaign": {"name": "c", "budget": 3, "seed": 1}}
DATABASE = STORE_FOLDER / "mlflow.db"


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(CampaignSettings(name="another", budget=1, seed=0), project)
    return project / DATABASE


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> CampaignSettings:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return CampaignSettings(name="c", budget=3, seed=1)


@pytest.fixture
def store(settings: CampaignSettings, tmp_path: Path, database: Path) -> CampaignStore:
    (tmp_path / DATABASE).parent.mkdir(parents=True)
    shutil.copy(database, tmp_path / DATABASE)
    return CampaignStore(settings, tmp_path, CONFIG)
