"""One trial on several processes: who does what, what they agree on, how a step is dealt."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from admire_pipeline.errors import UserError
from admire_pipeline.training.settings import FidelitySettings, TrainingSettings

if TYPE_CHECKING:
    from admire_pipeline.training.mixing import MixtureDataset

_T = TypeVar("_T")


def count() -> int:
    """Processes that work on the trial together; 1 where none were launched."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes and logs for all."""
    import torch.distributed as dist

    return count() == 1 or dist.get_rank() == 0


def agree(value: _T) -> _T:
    """The main process' value, on every process; all of them wait for it."""
    import torch.distributed as dist

    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_talk())
    return values[0]


def wait() -> None:
    """Wait until every process is here."""
    import torch.distributed as dist

    if count() > 1:
        dist.barrier(group=_talk())


def leave() -> None:
    """Part from the other processes, once all are done."""
    import torch.distributed as dist

    wait()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@cache
def _talk() -> Any:
    # Between the CPUs: word of a clock or a file must not make the GPUs wait for each other.
    import torch.distributed as dist

    return dist.new_group(backend="gloo")


def layout() -> str:
    """How checkpoints lie on disk; one of another layout cannot be gone on from."""
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            return f"{name} on {count()}"
    return "one file"


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
        """A batch of the dataset; of what is filled up, the labels are -100."""
        import torch

        last = len(self._dataset) - 1
        batch = self._dataset.__getitems__([min(index, last) for index in indices])
        filled = torch.tensor([index > last for index in indices])
        return {**batch, "labels": batch["labels"].masked_fill(filled[:, None], -100)}
