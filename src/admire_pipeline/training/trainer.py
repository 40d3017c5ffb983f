"""Training one trial's model through transformers' Trainer, resumable at any moment."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import is_torch_tf32_available

from admire_pipeline.disk import writing
from admire_pipeline.errors import UserError
from admire_pipeline.training import processes
from admire_pipeline.training.callback import Mark, TrialCallback, latest_checkpoint, read_mark
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.device import has_bf16
from admire_pipeline.training.lora import describe_adapters
from admire_pipeline.training.models import training_flops
from admire_pipeline.training.recipe import training_identity
from admire_pipeline.training.settings import TrainingSettings
from admire_pipeline.training.steps import WholeSteps, deal_step

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from admire_pipeline.training.dataset import MixtureDataset

logger = logging.getLogger(__name__)

LOGS = 50
"""Points on the curve of the training loss."""


@dataclass(frozen=True)
class TrainingRun:
    """What a training did.

    Attributes:
        parameters: Of the finished model.
        trained: Parameters that were trained: those, or those of the adapters.
        tokens: Trained on.
        flops: Spent on them, estimated (`training_flops`).
        seconds: From the first step to the last, over all interruptions; evaluations left out.
        devices: That it was shared by, in the end.
        curves: One entry per logged step: `step` and metrics.
    """

    parameters: int
    trained: int
    tokens: int
    flops: float
    seconds: float
    devices: int
    curves: list[dict[str, float]]


def train_model(  # noqa: PLR0913
    model: PreTrainedModel | PeftModel,
    dataset: MixtureDataset,
    settings: TrainingSettings,
    folder: Path,
    seed: int,
    log: Callable[[Mapping[str, float], int], None],
    evaluate: Callable[[PreTrainedModel], Mapping[str, float]],
    save: Callable[[dict[str, torch.Tensor] | None], None] | None = None,
) -> TrainingRun:
    """Train `model` in place on the planned sequences, in their order.

    Where several processes were launched, all of them call this and share every optimizer step.

    Args:
        model: Initialised from `seed`, so that a resumed training starts alike. Its adapters, where
            it has any, are trained and stay apart from it (`merge_adapters`).
        dataset: The planned sequences.
        settings: The recipe.
        folder: Of the checkpoints; a complete one is resumed from.
        seed: Of anything random in training.
        log: Takes metrics and their optimizer step.
        evaluate: Measures validation metrics for the curves; on every process, as the model may be
            spread over them.
        save: Takes the trained weights where `model` holds but a part of them, else None; the main
            process alone has them all.

    Raises:
        TrialError: If the training diverges to a loss that is not a number.
        UserError: If several processes cannot share this model's steps, the checkpoints are of
            another training, or the text has changed meanwhile.
    """
    # Tied weights are saved once; told so, the Trainer does not warn of the missing copy on resume.
    model._keys_to_ignore_on_save = set(model.all_tied_weights_keys)
    written_by = Mark(_identify(model, dataset, settings), processes.layout())
    # One process looks and clears away, and all go on from what it found.
    checkpoint = processes.agree(
        latest_checkpoint(folder, written_by) if processes.is_main() else None
    )
    steps = math.ceil(len(dataset) / settings.step_sequences)
    # Padding is computed, too.
    flops = training_flops(model, len(dataset) * settings.sequence_length, settings.sequence_length)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    before = read_mark(checkpoint).seconds if checkpoint else 0.0
    begun = replace(written_by, seconds=before)
    callback = TrialCallback(settings, steps, begun, log, evaluate, dataset.check)
    trainer = _LeanTrainer(
        model=model,
        args=_arguments(settings, folder, seed, steps),
        train_dataset=_evened(dataset, settings),
        data_collator=_keep_batch,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    if processes.count() > 1 and not trainer.model_accepts_loss_kwargs:
        raise UserError(
            f"launch.processes: a {model.config.model_type!r} model takes the mean over what each "
            "process has for its loss, and such means do not add up; allowed: 1"
        )
    if checkpoint is not None:
        logger.info("resuming from %s", checkpoint.name)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except UnpicklingError as error:
        raise UserError(
            f"{checkpoint}: it holds more than weights and numbers, and is not read "
            f"({one_line(error)}); allowed: what the training has written, or delete it"
        ) from error
    if save is not None:
        save(_gathered_weights(trainer))
    return TrainingRun(
        parameters=frozen or trained,  # adapters are merged into what is frozen
        trained=trained,
        tokens=dataset.plan.tokens,
        flops=flops,
        seconds=callback.seconds,
        devices=processes.count(),
        curves=[
            {k: v for k, v in entry.items() if isinstance(v, int | float)}
            for entry in trainer.state.log_history
        ],
    )


def _evened(dataset: MixtureDataset, settings: TrainingSettings) -> Any:
    if processes.count() == 1:
        return dataset
    return WholeSteps(dataset, settings.step_sequences)


def _gathered_weights(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """The weights of a model that is spread over the processes, which all take part."""
    if trainer.is_fsdp_enabled:
        return dict(trainer.accelerator.get_state_dict(trainer.model))
    if trainer.is_deepspeed_enabled:
        return dict(trainer.accelerator.get_state_dict(trainer.deepspeed))
    return None


def _identify(
    model: PreTrainedModel | PeftModel, dataset: MixtureDataset, settings: TrainingSettings
) -> str:
    """Hash of all that the training's result depends on."""
    config = model.config.to_dict()
    for name in ("transformers_version", "_attn_implementation", "attn_implementation"):
        config.pop(name, None)
    parts = [training_identity(settings), str(config), describe_adapters(model), str(dataset.plan)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _keep_batch(batch: Any) -> Any:
    # The dataset returns whole batches: nothing is left to collate.
    return batch


def _arguments(
    settings: TrainingSettings, folder: Path, seed: int, steps: int
) -> TrainingArguments:
    gpu = torch.cuda.is_available()
    batch_size, accumulation = deal_step(settings, processes.count())
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=seed,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        ddp_find_unused_parameters=False,  # a language model uses all of them
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        lr_scheduler_kwargs=(
            {"min_lr_rate": 0.1} if settings.schedule == "cosine_with_min_lr" else {}
        ),
        warmup_steps=round(settings.warmup_fraction * steps),
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_gradient_norm,
        optim="adamw_torch_fused",
        use_cpu=not gpu,  # the evaluation knows CUDA and the CPU
        bf16=has_bf16(),
        tf32=True if gpu and is_torch_tf32_available() else None,
        torch_compile=settings.compile,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},  # adapters need it
        use_liger_kernel=settings.liger,
        train_sampling_strategy="sequential",  # the plan is shuffled already
        remove_unused_columns=False,
        dataloader_pin_memory=gpu,
        logging_steps=max(1, steps // LOGS),
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_strategy="no",  # by time, in the callback, where old ones are removed too
        report_to=[],
        disable_tqdm=True,
    )
    # Several GPUs in one process (DataParallel) would train on the plan several times over.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


class _LeanTrainer(Trainer):
    def floating_point_ops(self, inputs: Any) -> int:
        """Nothing: counted once, by `training_flops`; walking the model every step takes time."""
        return 0

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """A disk that is full is told as what it is."""
        with writing(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(*args, **kwargs)
