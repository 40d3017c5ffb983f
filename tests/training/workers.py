"""What the tests have launched processes do, beside training: jobs that fail, and masked labels.

Run by accelerate in place of `admire_pipeline.training.worker`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from admire_pipeline.errors import TrialError, UserError
from admire_pipeline.training import processes, worker
from admire_pipeline.training.dataset import MixtureDataset


class MaskedDataset(MixtureDataset):
    """Some sequences count wholly, some in part, every third not at all."""

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = super().__getitems__(indices)
        labels = batch["labels"].clone()
        for row, index in enumerate(indices):
            labels[row, (index * 37) % 64 if index % 3 else 0 :] = -100
        return {**batch, "labels": labels}


def _train_masked(job: worker.Job, log: worker.Log) -> Any:
    from admire_pipeline.training import run

    run.MixtureDataset = MaskedDataset  # type: ignore[misc]
    return worker._train(job, log)


def _raise(error: Exception) -> Any:
    def call(job: worker.Job, log: worker.Log) -> None:
        # One process fails, and the other waits for it.
        if not processes.is_main():
            raise error
        processes.wait()

    return call


def _crash_after_a_checkpoint(job: worker.Job, log: worker.Log) -> None:
    if processes.is_main():
        folder = job.folder / "checkpoints" / "checkpoint-5"
        folder.mkdir(parents=True)
        (folder / "complete").write_text("{}")
    processes.wait()
    raise RuntimeError("a cable came loose")


def _kill_oneself(number: int) -> Any:
    def call(job: worker.Job, log: worker.Log) -> None:
        sys.stdout.write("a quarter\rhalf\rready to die\n")
        processes.wait()
        if not processes.is_main():
            os.kill(os.getpid(), number)
        processes.wait()

    return call


worker.CALLS |= {
    "masked": _train_masked,
    "UserError": _raise(UserError("corpus: it is gone; allowed: one that is there")),
    "TrialError": _raise(TrialError("training: the loss is nan")),
    "OSError": _raise(OSError(28, "No space left on device")),
    "RuntimeError": _raise(RuntimeError("shapes do not fit")),
    "crash after a checkpoint": _crash_after_a_checkpoint,
    "SIGKILL": _kill_oneself(signal.SIGKILL),
    "SIGSEGV": _kill_oneself(signal.SIGSEGV),
}

if __name__ == "__main__":
    worker.main(Path(sys.argv[1]))
