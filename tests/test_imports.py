"""`kedro registry list` is fast: heavy libraries are not imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "mlflow",
    "transformers",
    "botorch",
    "pandas",
    "matplotlib",
    "datasets",
    "sklearn",
)


def test_registering_pipelines_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from kedro.framework.startup import bootstrap_project\n"
        f"bootstrap_project({str(ROOT)!r})\n"
        "from kedro.framework.project import pipelines, settings\n"
        "import admire_pipeline.cli\n"
        "assert 'admire_step' in pipelines and settings.HOOKS\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.strip() == "[]"
