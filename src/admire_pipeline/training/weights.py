"""The weights in a trial's folder: where they are, what they hold, how they are given up."""

from __future__ import annotations

import hashlib
import logging
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from admire_pipeline.errors import UserError
from admire_pipeline.integrity import DamagedError, read_sealed

logger = logging.getLogger(__name__)

MODEL = "model"
"""Within the trial's folder: the finished model."""
TRAINING_RUN = "training_run.json"
"""Beside its weights: what the training did."""
UNFINISHED = f".{MODEL}"
"""Where that is written before it is renamed."""
CHECKPOINTS = "checkpoints"
"""Of the training."""
COMPLETE = "complete"
"""In a checkpoint that was written to its end: what it is of (`callback.Mark`)."""


def model_hash(folder: Path) -> str:
    """Hash of all that decides what a model says: its config and every byte of its weights."""
    paths = [folder / name for name in ("config.json", "generation_config.json")]
    paths = [*filter(Path.exists, paths), *sorted(folder.glob("*.safetensors"))]
    states = [(path, path.stat()) for path in paths]
    return _hash_files(tuple((path, s.st_size, s.st_mtime_ns) for path, s in states))


@lru_cache(maxsize=1)
def _hash_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def finished_run(folder: Path) -> dict[str, Any] | None:
    """What the training of a trial did, with the `hash` of its model; None where it has not ended.

    Args:
        folder: The trial's own.
    """
    done = folder / MODEL / TRAINING_RUN
    if not done.exists():
        return None
    try:
        return read_sealed(done)
    except DamagedError as damage:
        logger.warning("%s; the training goes on from its last checkpoint", damage)
        shutil.rmtree(done.parent)
        return None


def check_model(folder: Path, expected: str) -> None:
    """Check that a model is what its training has left.

    One that is not is removed: what was trained until the last checkpoint is as good as before.

    Args:
        folder: The model's.
        expected: Its hash (`model_hash`).

    Raises:
        UserError: If it is not, or its weights are not there.
    """
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder}: the trial's weights are not there, removed or on the machine that trained "
            "them; allowed: to evaluate it there, or give it up with `kedro admire abandon`"
        )
    if model_hash(folder) != expected:
        shutil.rmtree(folder)
        raise UserError(
            f"{folder}: it did not hold what the training had left (a faulty disk?) and is removed;"
            " `kedro run --pipelines=admire_step` trains it to the end again, from the last "
            "checkpoint"
        )


def remove_weights(folder: Path) -> int:
    """Remove what is large in the folder of an ended trial, while others may do the same.

    The model's config and `training_run.json`, and all that is not the training's, stay.

    Args:
        folder: The trial's own; it need not be there.

    Returns:
        Bytes that were freed.
    """
    if not folder.exists():  # of thousands, most were trained elsewhere
        return 0
    freed = 0
    leftovers = [folder / CHECKPOINTS, folder / UNFINISHED]
    files = [path for place in leftovers for path in place.rglob("*") if path.is_file()]
    for path in [*(folder / MODEL).glob("*.safetensors"), *files]:
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:  # another worker was first
            continue
        freed += size
    for place in leftovers:
        shutil.rmtree(place, ignore_errors=True)
    return freed
