"""One trial's training from end to end: model, data, checkpoints, the finished model on disk."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils.logging import disable_progress_bar

from admire_pipeline.disk import sync, sync_file, writing
from admire_pipeline.errors import UserError
from admire_pipeline.integrity import write_sealed
from admire_pipeline.training import processes
from admire_pipeline.training.dataset import MixtureDataset
from admire_pipeline.training.evaluation import evaluate_domains, mean_bits_per_byte
from admire_pipeline.training.lora import merge_adapters
from admire_pipeline.training.mixing import MixingPlan
from admire_pipeline.training.models import build_model
from admire_pipeline.training.processes import this_process
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings
from admire_pipeline.training.trainer import train_model
from admire_pipeline.training.weights import (
    CHECKPOINTS,
    MODEL,
    TRAINING_RUN,
    UNFINISHED,
    finished_run,
    model_hash,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from admire_pipeline.training.corpus import Corpus

logger = logging.getLogger(__name__)


def train_trial(  # noqa: PLR0913
    fidelity: FidelitySettings,
    mixing_plan: Mapping[str, Any],
    corpus: Corpus,
    folder: Path,
    seed: int,
    evaluation: EvaluationSettings,
    log: Callable[[Mapping[str, float], int], None],
) -> dict[str, Any]:
    """Train, or resume, or find that it was done before; what has been paid for is not repeated.

    Where several processes were launched, all of them call this.

    Args:
        fidelity: Model and recipe.
        mixing_plan: As of `MixingPlan.to_dict`.
        corpus: The text.
        folder: The trial's own.
        seed: The trial's own.
        evaluation: How much validation text the curves are measured on.
        log: Takes metrics of the curves and their optimizer step.

    Returns:
        The fields of `TrainingRun`; `model`: where the model is, within `folder`; `hash`: of the
        model; `corpus`: hash of the text.

    Raises:
        UserError: If the text has changed since the trial was begun.
    """
    if (finished := finished_run(folder)) is not None:
        if finished["corpus"] != corpus.manifest["hash"]:
            raise UserError(
                "corpus: its text has changed since the trial's model was trained; allowed: the "
                "same text, or give the trial up with `kedro admire abandon`"
            )
        logger.info("training was finished before")
        return finished
    training = fidelity.training
    disable_progress_bar()  # of writing and reading weights; training has its own

    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        metrics = evaluate_domains(
            model, corpus, training.sequence_length, evaluation.batch_size, evaluation.curve_bytes
        )
        curves = {f"validation.{metric.name}": metric.value for metric in metrics}
        return {"validation.bits_per_byte": mean_bits_per_byte(metrics), **curves}

    model = build_model(fidelity.model, corpus, training.sequence_length, seed)
    flat = fidelity.model.attention.startswith("flash") and training.unit == "examples"
    dataset = MixtureDataset(MixingPlan.from_dict(mixing_plan), corpus, flat)
    aside = folder / UNFINISHED

    def save(weights: dict[str, Tensor] | None) -> None:
        if processes.is_main():
            shutil.rmtree(aside, ignore_errors=True)
            disable_progress_bar()  # the Trainer has switched it on again
            merged = merge_adapters(model)
            with writing(aside):
                merged.save_pretrained(aside, state_dict=weights)

    run = train_model(model, dataset, training, folder / CHECKPOINTS, seed, log, evaluate, save)
    result = {**asdict(run), "model": MODEL, "corpus": corpus.manifest["hash"]}
    if processes.is_main():
        # Written aside and renamed: a model that stands there is whole.
        result["hash"] = model_hash(aside)
        write_sealed(aside / TRAINING_RUN, result)
        sync(aside)
        try:
            aside.rename(folder / MODEL)
        except OSError:
            # One who has taken the trial over shares this folder, and was faster.
            if not (folder / MODEL / TRAINING_RUN).exists():
                raise
            shutil.rmtree(aside, ignore_errors=True)
        sync_file(folder)
        logger.info(
            "trained %d of %d parameters on %d tokens in %.1f s",
            run.trained,
            run.parameters,
            run.tokens,
            run.seconds,
        )
    return processes.agree(result)  # the others wait until it is there


def load_model(folder: Path) -> PreTrainedModel:
    """The finished model in the dtype it was saved in, on this process' GPU if there is one."""
    import torch
    from transformers import AutoModelForCausalLM

    disable_progress_bar()
    gpu = f"cuda:{this_process().local_process_index}"
    device = gpu if torch.cuda.is_available() else "cpu"
    return AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, dtype="auto", device_map=device
    )
