"""The weights in a trial's folder: where they are, and how they are given up."""

from __future__ import annotations

import shutil
from pathlib import Path

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


def remove_weights(folder: Path) -> int:
    """Remove what is large in the folder of an ended trial, while others may do the same.

    The model's config and `training_run.json`, and all that is not the training's, stay.

    Args:
        folder: The trial's own; it need not be there.

    Returns:
        Bytes that were freed.
    """
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
