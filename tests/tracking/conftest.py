"""A store of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from admire_pipeline.tracking import CampaignSettings
from admire_pipeline.tracking.server import STORE_FOLDER
from admire_pipeline.tracking.store import CampaignStore

CONFIG = {"campaign": {"name": "c", "budget": 3, "seed": 1}}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> CampaignSettings:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return CampaignSettings(name="c", budget=3, seed=1)


@pytest.fixture
def store(settings: CampaignSettings, tmp_path: Path, empty_store: Path) -> CampaignStore:
    (tmp_path / STORE_FOLDER).mkdir(parents=True)
    shutil.copy(empty_store, tmp_path / STORE_FOLDER)
    return CampaignStore(settings, tmp_path, CONFIG)
