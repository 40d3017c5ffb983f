"""A campaign before it is run: what each fidelity is, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.training.available import Need, need_domain, need_model, need_tokenizer
from admire_pipeline.training.cached import find_folder
from admire_pipeline.training.command import check_config_file, read_config
from admire_pipeline.training.corpus import CorpusSettings
from admire_pipeline.training.corpus.errors import CorpusError
from admire_pipeline.training.corpus.tokenizer import (
    BYTES,
    ByteTokenizer,
    count_ids,
    load_pretrained,
    split_revision,
)
from admire_pipeline.training.estimate import (
    Memory,
    Shape,
    estimate_memory,
    measure_shape,
    read_sharding,
)
from admire_pipeline.training.models import known_config
from admire_pipeline.training.settings import (
    EvaluationSettings,
    FidelitySettings,
    Ladder,
    LaunchSettings,
)
from admire_pipeline.training.task_data import need_tasks
from admire_pipeline.training.work import (
    CorpusDisk,
    Gpu,
    Work,
    checkpoint_bytes,
    estimate_corpus,
    estimate_hours,
    estimate_work,
    host_bytes,
    model_bytes,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Estimate:
    """What a trial of a fidelity takes.

    Attributes:
        shape: Of its model.
        work: What is trained on.
        memory: On each device.
        host: Bytes of the machine's memory that the model takes before it is on the devices.
        hours: Of the training.
        checkpoints: Bytes on disk while it is trained.
        model: Bytes on disk of the finished model.
    """

    shape: Shape
    work: Work
    memory: Memory
    host: int
    hours: float
    checkpoints: int
    model: int


@dataclass(frozen=True)
class Plan:
    """What a campaign takes.

    Attributes:
        gpu: That hours and memory are estimated for.
        fidelities: By name, small to large.
        estimates: By name; None where the model's shape is not known.
        corpus: Disk that it takes; None where the config does not tell.
        needs: Models, tokenizer, launch configs, domains and tasks.
    """

    gpu: Gpu
    fidelities: dict[str, FidelitySettings]
    estimates: dict[str, Estimate | None]
    corpus: CorpusDisk | None
    needs: list[Need]

    @property
    def missing(self) -> list[Need]:
        """What is needed and not there."""
        return [need for need in self.needs if not need.found]


def make_plan(  # noqa: PLR0913 - a campaign's models and data, and what is asked about them
    fidelities: Ladder,
    corpus: CorpusSettings,
    evaluation: EvaluationSettings,
    folder: Path,
    root: Path,
    gpu: Gpu,
    example_tokens: int | None = None,
) -> Plan:
    """Plan a campaign by what is on this machine and in its config; no network, no compute.

    Args:
        fidelities: The ladder.
        corpus: Of the campaign.
        evaluation: Of the campaign.
        folder: Where the corpus' shards are kept.
        root: Relative paths start here.
        gpu: What trials are to run on.
        example_tokens: Mean tokens of an example, where known.

    Raises:
        UserError: If a fidelity cannot be launched as its config file says, on any machine.
    """
    for name, fidelity in fidelities.root.items():
        if _has_config(fidelity.launch, root):
            check_config_file(fidelity, root, f"fidelities.{name}", elsewhere=True)
    needs = [need_model(name, f.model) for name, f in fidelities.root.items()]
    needs += [_need_launch(name, f.launch, root) for name, f in fidelities.root.items()]
    needs += [need_tokenizer(corpus, root)]
    needs += [need_domain(name, corpus, folder, root) for name in corpus.domains]
    needs += need_tasks(evaluation, root)
    vocabulary = _vocabulary(corpus.tokenizer, root)
    estimates = {
        name: _estimate(name, fidelity, vocabulary, root, gpu, example_tokens)
        for name, fidelity in fidelities.root.items()
    }
    # Where the tokenizer is away: every model must take all its tokens.
    sizes = [estimate.shape.vocabulary for estimate in estimates.values() if estimate is not None]
    return Plan(
        gpu,
        dict(fidelities.root),
        estimates,
        estimate_corpus(corpus, min(sizes, default=None) if vocabulary is None else vocabulary),
        [need for need in needs if need is not None],
    )


def _estimate(  # noqa: PLR0913, PLR0917
    name: str,
    fidelity: FidelitySettings,
    vocabulary: int | None,
    root: Path,
    gpu: Gpu,
    example_tokens: int | None,
) -> Estimate | None:
    config = _config(name, fidelity, vocabulary)
    if config is None:
        return None
    training = fidelity.training
    shape = measure_shape(config, training.sequence_length, fidelity.model.lora)
    work = estimate_work(shape, training, example_tokens)
    launch = fidelity.launch
    here = _has_config(launch, root)
    settings = read_config(launch, root, f"fidelities.{name}.launch") if here else {}
    sharding = read_sharding(settings, launch.processes)
    return Estimate(
        shape,
        work,
        estimate_memory(shape, fidelity, sharding),
        host_bytes(shape, launch),
        estimate_hours(work, fidelity, gpu),
        checkpoint_bytes(shape, training),
        model_bytes(shape),
    )


def _config(
    name: str, fidelity: FidelitySettings, vocabulary: int | None
) -> PretrainedConfig | None:
    config = known_config(fidelity, f"fidelities.{name}")
    if fidelity.model.config is not None and "vocab_size" not in fidelity.model.config:
        if vocabulary is None or config is None:
            return None
        config.get_text_config().vocab_size = vocabulary
    return config


def _vocabulary(tokenizer: str, root: Path) -> int | None:
    """Token ids of a tokenizer that is on this machine; None of another one."""
    if tokenizer == BYTES:
        return ByteTokenizer.vocabulary.size
    here = root / tokenizer
    folder = here if here.is_dir() else find_folder(*split_revision(tokenizer))
    if folder is None:
        return None
    try:
        return count_ids(load_pretrained(str(folder)))
    except CorpusError:  # no more than a part of it is there
        return None


def _has_config(launch: LaunchSettings, root: Path) -> bool:
    return launch.config is not None and (root / launch.config).is_file()


def _need_launch(name: str, launch: LaunchSettings, root: Path) -> Need | None:
    if launch.config is None:
        return None
    found = _has_config(launch, root)
    return Need(f"launch of {name}", launch.config, "", launch.config, found)
