"""What was downloaded from the Hugging Face Hub before."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def find_snapshot(
    name: str, kind: Literal["model", "dataset"], revision: str | None
) -> Path | None:
    """Folder of a repository's files in the cache; None if there is none.

    Read from disk alone. The functions of huggingface_hub ask the network for their user agent's
    sake even when they are told to look at local files only.

    Args:
        name: Of the repository.
        kind: Of the repository.
        revision: Commit, branch or tag; None: the main branch as it was last seen.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)
    wanted = revision or "main"
    reference = folder / "refs" / wanted
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def find_folder(name: str, revision: str | None) -> Path | None:
    """Folder of a model or tokenizer: itself, or what was downloaded; None if it is away."""
    return Path(name) if Path(name).is_dir() else find_snapshot(name, "model", revision)
