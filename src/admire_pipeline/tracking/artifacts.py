"""Files that MLflow keeps with a run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def fetch_artifact(client: MlflowClient, run_id: str, path: Path) -> bool:
    """Bring the run's file of this name to `path`, whole; whether there was one."""
    if path.name not in [file.path for file in client.list_artifacts(run_id)]:
        return False
    with TemporaryDirectory(dir=path.parent) as aside:
        client.download_artifacts(run_id, path.name, aside)
        (Path(aside) / path.name).replace(path)
    return True
