"""An optimizer step on several devices: the same sequences as on one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from admire_pipeline.errors import UserError
from admire_pipeline.training.settings import FidelitySettings, TrainingSettings

if TYPE_CHECKING:
    from admire_pipeline.training.dataset import MixtureDataset


def deal_step(training: TrainingSettings, processes: int) -> tuple[int, int]:
    """Deal the sequences of one optimizer step to the processes: as many as on one of them.

    Fewer forward passes each, as far as there are some for every process; then fewer sequences in a
    pass. accelerate deals the passes of a step in turn (`BatchSamplerShard`), so a step holds the
    same sequences whatever the number of processes.

    Returns:
        Sequences in a forward pass, and forward passes in a step, of each process.

    Raises:
        UserError: If they cannot be dealt evenly.
    """
    shared = math.gcd(training.gradient_accumulation, processes)
    batch_size, left = divmod(training.batch_size, processes // shared)
    if left:
        whole = training.step_sequences
        divisors = [n for n in range(1, whole + 1) if whole % n == 0]
        fitting = [str(n) for n in divisors if _deals(training, n)]
        raise UserError(
            f"launch.processes: {processes} cannot share a step of {training.batch_size} x "
            f"{training.gradient_accumulation} sequences (training.batch_size x "
            f"gradient_accumulation) evenly; allowed: {', '.join(fitting)}"
        )
    return batch_size, training.gradient_accumulation // shared


def _deals(training: TrainingSettings, processes: int) -> bool:
    shared = math.gcd(training.gradient_accumulation, processes)
    return training.batch_size % (processes // shared) == 0


def check_launch(fidelity: FidelitySettings, key: str) -> None:
    """Check that a fidelity's processes can share its steps.

    Args:
        fidelity: Its recipe and launch.
        key: Where the fidelity stands in the config, for the message.

    Raises:
        UserError: If they cannot.
    """
    try:
        deal_step(fidelity.training, fidelity.launch.processes)
    except UserError as error:
        raise UserError(f"{key}.{error}") from None


class WholeSteps:
    """A dataset filled up to whole optimizer steps with sequences that are not learned from.

    accelerate would repeat the first sequences instead, so that every process has as many.

    Args:
        dataset: What is trained on; returns whole batches.
        step_sequences: Sequences in one optimizer step.
    """

    def __init__(self, dataset: MixtureDataset, step_sequences: int) -> None:
        self._dataset = dataset
        self._length = -(-len(dataset) // step_sequences) * step_sequences

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A batch of the dataset; nothing of what is filled up is learned."""
        import torch

        from admire_pipeline.training.dataset import IGNORED

        last = len(self._dataset) - 1
        batch = self._dataset.__getitems__([min(index, last) for index in indices])
        filled = torch.tensor([index > last for index in indices])
        labels = batch["labels"]
        rows = labels.reshape(len(indices), -1).masked_fill(filled[:, None], IGNORED)
        return {**batch, "labels": rows.reshape(labels.shape)}
