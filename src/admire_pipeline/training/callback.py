"""What a trial's training does besides its steps: curves, timed checkpoints, clock, progress."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from admire_pipeline.disk import sync, write_atomically
from admire_pipeline.errors import TrialError
from admire_pipeline.training import processes
from admire_pipeline.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPLETE = "complete"
"""Name of the file that says a checkpoint was written to its end; it holds the recipe's hash and
the seconds of training before it."""


def latest_checkpoint(folder: Path, recipe: str) -> Path | None:
    """The last complete checkpoint of this recipe; others are of no use and are removed."""
    usable = []
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE).exists() and read_mark(path)["recipe"] == recipe:
            usable.append(path)
        else:
            shutil.rmtree(path)
    return max(usable, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def read_mark(checkpoint: Path) -> dict[str, Any]:
    """What a complete checkpoint says of itself: `recipe` and `seconds`."""
    return dict(json.loads((checkpoint / COMPLETE).read_text()))


class TrialCallback(TrainerCallback):
    """Curves, timed checkpoints, the clock and the progress bar of one training."""

    def __init__(
        self,
        settings: TrainingSettings,
        steps: int,
        recipe: str,
        before: float,
        log: Callable[[Mapping[str, float], int], None],
        evaluate: Callable[[PreTrainedModel], Mapping[str, float]],
    ) -> None:
        self._checkpoint_seconds = settings.checkpoint_seconds
        self._evaluate_at = {
            round(steps * (i + 1) / settings.evaluations) for i in range(settings.evaluations)
        }
        self._recipe = recipe
        self._before = before
        self._log = log
        self._evaluate = evaluate
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
        self._bar.update()
        if state.global_step in self._evaluate_at:
            paused = time.monotonic()
            metrics = dict(self._evaluate(kwargs["model"]))
            self._record(state, metrics)
            # The clock tells the speed of training: evaluations stop it.
            self._started += time.monotonic() - paused
        self.seconds = self._before + time.monotonic() - self._started
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
        """Mark the checkpoint as complete, once every process has written its part."""
        processes.wait()
        if not processes.is_main():
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        # The mark must not reach the disk before what it vouches for.
        sync(folder)
        mark = json.dumps({"recipe": self._recipe, "seconds": self.seconds})
        write_atomically(folder / COMPLETE, mark)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the last steps may still be under way
        self.seconds = self._before + time.monotonic() - self._started
        self._bar.close()

    def _record(self, state: TrainerState, metrics: dict[str, float]) -> None:
        state.log_history.append({**metrics, "step": state.global_step})
        self._log(metrics, state.global_step)
