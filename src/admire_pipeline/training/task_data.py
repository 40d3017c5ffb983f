"""What benchmark tasks are made of, and whether it is on this machine, without the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from admire_pipeline.training.available import DATA_FILES, Need, look_up
from admire_pipeline.training.settings import EvaluationSettings

FORMATS = ("csv", "json", "parquet", "text")
"""In place of a dataset's name: files of that format, which the task names itself."""


def need_tasks(evaluation: EvaluationSettings, root: Path) -> list[Need]:
    """The data of the tasks; of one of lm-evaluation-harness, what its config names.

    A task that code of the harness' own defines does not tell, and is left out. Of a dataset that
    is there, it may be other parts than a task wants. Which ones are gated, the Hub alone knows.

    Args:
        evaluation: Its tasks.
        root: Relative paths start here.
    """
    needs = []
    for name, task in evaluation.tasks.items():
        what = f"task {name}"
        if task.path is not None:
            path = root / Path(task.path).expanduser()
            needs.append(Need(what, task.path, "", task.path, path.is_file()))
            continue
        from admire_pipeline.training.harness.tasks import known_tasks

        datasets = _datasets({"task": task.task}, known_tasks().task_index)
        needs += [_need_dataset(what, each, task.revision) for each in dict.fromkeys(datasets)]
    return needs


def _datasets(config: Mapping[str, Any], index: Mapping[str, Any]) -> Iterator[str]:
    """Datasets that a task's config names, or those of its members where it is a group."""
    if (path := config.get("dataset_path")) is not None:
        if path not in FORMATS:
            yield path
        return
    members = config.get("task") or []
    for member in [members] if isinstance(members, str) else members:
        if isinstance(member, Mapping):
            yield from _datasets(member, index)
        elif member in index and index[member].cfg is not config:
            entry = index[member]
            yield from _datasets(entry.cfg or {"task": sorted(entry.tags)}, index)


def _need_dataset(what: str, name: str, revision: str | None) -> Need:
    """A dataset of the Hub as it was downloaded, or as `datasets` has prepared it."""
    import datasets
    from datasets.naming import camelcase_to_snakecase

    *owner, last = name.split("/")
    folder = "___".join([*owner, camelcase_to_snakecase(last)])
    prepared = Path(datasets.config.HF_DATASETS_CACHE) / folder
    # Below it are the names of configs and versions, then one folder for each commit.
    if any(prepared.glob(f"*/*/{revision}")) if revision else prepared.is_dir():
        return Need(what, name, revision, "cache of datasets", True)
    return look_up(what, name, revision, "dataset", DATA_FILES, Path())
