"""What a trial's training does besides its steps: curves, timed checkpoints, clock, progress."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from admire_pipeline.disk import sync, writing
from admire_pipeline.errors import TrialError, UserError
from admire_pipeline.integrity import (
    DamagedError,
    check_files,
    checksums,
    read_sealed,
    write_sealed,
)
from admire_pipeline.interrupts import stop_if_asked
from admire_pipeline.training import processes
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.settings import TrainingSettings
from admire_pipeline.training.weights import COMPLETE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """What a checkpoint is of.

    Attributes:
        training: Hash of all that the training's result depends on.
        layout: How it lies on disk (`processes.layout`).
        seconds: Of training before it.
        files: Checksum of each of its files.
    """

    training: str
    layout: str
    seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)


def latest_checkpoint(folder: Path, ours: Mark) -> Path | None:
    """The last checkpoint that is complete and undamaged; later ones are of no use, and removed.

    Raises:
        UserError: If it is of another training or lies otherwise: it was paid for, and is left.
    """
    for path in _checkpoints(folder):
        if (path / COMPLETE).exists():
            try:
                mark = read_mark(path)
                _check_origin(path, mark, ours)
                check_files(path, mark.files)
                return path
            except DamagedError as damage:
                logger.warning("%s: %s; training goes on from before it", path.name, damage)
        shutil.rmtree(path)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """The latest first, by their optimizer steps: a clock that is set back tells nothing."""
    found = folder.glob("checkpoint-[0-9]*")
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def _check_origin(checkpoint: Path, mark: Mark, ours: Mark) -> None:
    folder = checkpoint.parent
    if mark.layout != ours.layout:
        raise UserError(
            f"launch: {checkpoint} was written by {mark.layout}, and cannot be gone on from by "
            f"{ours.layout}; allowed: the launch it was written by, or delete {folder}"
        )
    if mark.training != ours.training:
        raise UserError(
            f"{checkpoint}: it is of another recipe, model or mixture than the trial; allowed: "
            f"those it was written by, or delete {folder}"
        )


def read_mark(checkpoint: Path) -> Mark:
    """What a complete checkpoint is of.

    Raises:
        DamagedError: If that is not what was written.
        UserError: If it was written by another version.
    """
    try:
        return Mark(**read_sealed(checkpoint / COMPLETE))
    except TypeError as error:
        raise UserError(
            f"{checkpoint}: what it is of cannot be read ({one_line(error)}); allowed: a "
            "checkpoint of this version, or delete it"
        ) from error


class TrialCallback(TrainerCallback):
    """Curves, timed checkpoints, the clock and the progress bar of one training."""

    def __init__(
        self,
        settings: TrainingSettings,
        steps: int,
        begun: Mark,
        log: Callable[[Mapping[str, float], int], None],
        evaluate: Callable[[PreTrainedModel], Mapping[str, float]],
        check: Callable[[], None],
    ) -> None:
        self._checkpoint_seconds = settings.checkpoint_seconds
        self._keep_checkpoints = settings.keep_checkpoints
        self._evaluate_at = {
            round(steps * (i + 1) / settings.evaluations) for i in range(settings.evaluations)
        }
        self._begun = begun
        self._log = log
        self._evaluate = evaluate
        self._check = check
        self.seconds = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock and the progress bar."""
        from tqdm import tqdm

        self._started = self._saved = time.monotonic()
        self._bar = tqdm(
            desc="training",
            total=state.max_steps,
            initial=state.global_step,
            disable=None if processes.is_main() else True,
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Evaluate for the curves, and ask for a checkpoint, when it is time."""
        stop_if_asked()
        self._bar.update()
        if state.global_step in self._evaluate_at:
            paused = time.monotonic()
            metrics = dict(self._evaluate(kwargs["model"]))
            self._record(state, metrics)
            # The clock tells the speed of training: evaluations stop it.
            self._started += time.monotonic() - paused
        self.seconds = self._begun.seconds + time.monotonic() - self._started
        # By the main process' clock: all take part in a checkpoint, or none.
        if processes.agree(time.monotonic() - self._saved > self._checkpoint_seconds):
            control.should_save = state.global_step < state.max_steps
            self._saved = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Hand on the training loss; one that is no number ends the trial."""
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrialError(
                f"training: the loss is {logs['loss']} at step {state.global_step}; "
                "allowed: a finite number (a lower learning_rate?)"
            )
        self._log(
            {f"train.{key}": logs[key] for key in ("loss", "grad_norm", "learning_rate")},
            state.global_step,
        )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint as complete, once every process has written its part.

        Only then an older one is given up.
        """
        processes.wait()
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        names = processes.agree(sorted(names))
        sums = processes.spread(lambda share: [*checksums(folder, share).values()], names)
        if processes.is_main():
            self._check()  # what is trained on other text is of no use
            files = dict(zip(names, sums, strict=True))
            mark = replace(self._begun, seconds=self.seconds, files=files)
            with writing(folder):
                # The mark must not reach the disk before what it vouches for.
                sync(folder)
                write_sealed(folder / COMPLETE, asdict(mark))
            for old in _checkpoints(folder.parent)[self._keep_checkpoints :]:
                shutil.rmtree(old, ignore_errors=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the last steps may still be under way
        self.seconds = self._begun.seconds + time.monotonic() - self._started
        self._bar.close()
        if processes.is_main():
            self._check()

    def _record(self, state: TrainerState, metrics: dict[str, float]) -> None:
        state.log_history.append({**metrics, "step": state.global_step})
        self._log(metrics, state.global_step)
