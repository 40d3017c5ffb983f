"""The whole config, checked before anything runs; every fault is one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.pipelines.benchmark.settings import BenchmarkSettings
from admire_pipeline.pipelines.search import SearchSettings, build_space
from admire_pipeline.tracking import CampaignSettings, WorkerSettings
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.harness.check import check_names
from admire_pipeline.training.models import check_model, known_config
from admire_pipeline.training.objective import ObjectiveSettings, measured_metrics, metric_range
from admire_pipeline.training.settings import (
    EvaluationSettings,
    FidelitySettings,
    Ladder,
    MixingSettings,
)
from admire_pipeline.training.steps import check_launch
from admire_pipeline.validation import validate_settings

KEDRO_KEYS = ("type", "filepath", "metadata")
"""Keys of a catalog entry that are kedro's, not the corpus'."""


class Configuration(BaseModel):
    """Everything in `conf/` that decides what is run: the parameters, and the corpus' entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaign: CampaignSettings
    worker: WorkerSettings = WorkerSettings()
    search: SearchSettings
    fidelities: Ladder
    mixing: MixingSettings
    evaluation: EvaluationSettings
    objective: ObjectiveSettings
    corpus: CorpusSettings
    benchmark: BenchmarkSettings | None = None


def check_configuration(parameters: Any, corpus: Any, offline: bool = False) -> Configuration:
    """Check every key, every value, and what must agree between them.

    Args:
        parameters: Kedro's parameters, as read from the files.
        corpus: The catalog's entry of the corpus.
        offline: Leave the network alone: a checkpoint that is not on this machine is checked by its
            `shape`.

    Raises:
        UserError: One line that names the first faulty key, its value and what is allowed.
    """
    if not isinstance(parameters, Mapping):
        raise UserError(f"parameters: {parameters!r} is not allowed; allowed: a mapping")
    if not isinstance(corpus, Mapping):
        raise UserError(f"catalog.corpus: {corpus!r} is not allowed; allowed: a mapping")
    settings = {key: corpus[key] for key in corpus if key not in KEDRO_KEYS}
    config = validate_settings(Configuration, {**parameters, "corpus": settings})
    try:
        config.search.build_policy()
        build_space(config.corpus.trained, config.search, config.fidelities)
    except ValueError as error:
        raise UserError(f"search: {error}") from None
    _check_worker(config)
    _check_unit(config)
    _check_metrics(config)
    check_names(config.evaluation)
    if not isinstance(corpus.get("filepath"), str):
        raise UserError(
            f"corpus.filepath: {corpus.get('filepath')!r} is not allowed; allowed: a folder"
        )
    for name, fidelity in config.fidelities.root.items():
        check_launch(fidelity, f"fidelities.{name}")
        check_model(fidelity, f"fidelities.{name}", offline)
        _check_room(config.evaluation, fidelity, f"fidelities.{name}")
    return config


def check_benchmark(parameters: Any) -> BenchmarkSettings:
    """Check what a benchmark needs of the parameters, and leave the campaign's alone.

    Args:
        parameters: Kedro's parameters, as read from the files.

    Raises:
        UserError: One line that names the first faulty key, its value and what is allowed.
    """
    parameters = parameters if isinstance(parameters, Mapping) else {}
    given = parameters.get("benchmark")
    known = [name for name in Configuration.model_fields if name != "corpus"]
    if unknown := sorted(set(parameters) - set(known)):
        raise UserError(f"{unknown[0]}: unknown key; {suggest(unknown[0], known)}")
    if not isinstance(given, Mapping):
        raise UserError(f"benchmark: {given!r} is not allowed; allowed: a mapping")
    return validate_settings(BenchmarkSettings, given, "benchmark")


def _check_worker(config: Configuration) -> None:
    ladder = list(config.fidelities.root)
    for name in config.worker.fidelities or ():
        if name not in ladder:
            raise UserError(f"worker.fidelities: unknown {name!r}; {suggest(name, ladder)}")


def _check_unit(config: Configuration) -> None:
    unit = config.mixing.unit
    for name, fidelity in config.fidelities.root.items():
        if fidelity.training.unit != unit:
            raise UserError(
                f"fidelities.{name}.training.{fidelity.training.unit}: mixing.unit is {unit!r}; "
                f"allowed: a budget of {unit}"
            )


def _check_room(evaluation: EvaluationSettings, fidelity: FidelitySettings, key: str) -> None:
    lengths = {name: t.max_tokens for name, t in evaluation.tasks.items() if t.max_tokens}
    model = known_config(fidelity, key) if lengths else None
    room = getattr(model and model.get_text_config(), "max_position_embeddings", None)
    for name, length in lengths.items():
        if room is not None and length >= room:
            raise UserError(
                f"evaluation.tasks.{name}.max_tokens: {length} leaves no room for a question in "
                f"the {room} tokens that the model of {key} takes; allowed: less than {room}"
            )


def _check_metrics(config: Configuration) -> None:
    measured = measured_metrics(config.corpus.evaluated, config.evaluation)
    for name, task in config.evaluation.tasks.items():
        if measured.count(f"{task.metric}.{name}") > 1:
            raise UserError(
                f"evaluation.tasks.{name}: it measures {task.metric!r}, and so does the domain of "
                "that name; allowed: another name"
            )
    for key, named in (
        ("objective.weights", config.objective.weights or {}),
        ("search.constraints", config.search.constraints),
    ):
        for name in named:
            if name not in measured:
                raise UserError(f"{key}: unknown metric {name!r}; {suggest(name, measured)}")
    for constraint in config.search.build_constraints():
        least, most = metric_range(constraint.metric)
        if not least < constraint.bound < most:
            side = "at_least" if constraint.sign > 0 else "at_most"
            raise UserError(
                f"search.constraints.{constraint.metric}.{side}: {constraint.bound:g}; allowed: "
                f"between {least:g} and {most:g}, the metric's range"
            )
