"""What a trial takes: sequences and steps, hours of a GPU, and disk."""

from __future__ import annotations

from dataclasses import dataclass

from admire_pipeline.training.estimate import ADAMW, FLOAT32, Shape
from admire_pipeline.training.settings import FidelitySettings, TrainingSettings

UTILISATION = 0.4
"""Share of a GPU's peak that trainings reach; `make gpu-check` measured 0.39 to 0.42 on an H200."""


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: Of the product.
        flops: Peak of dense bfloat16 matrix products, FLOP/s.
        memory: Bytes.
    """

    name: str
    flops: float
    memory: float


GPUS = {
    "h100": Gpu("H100 SXM", 989e12, 80e9),
    "h200": Gpu("H200 SXM", 989e12, 141e9),
    "a100": Gpu("A100 80GB SXM", 312e12, 80e9),
}
"""By name; peaks without sparsity and memory of NVIDIA's data sheets."""


@dataclass(frozen=True)
class Work:
    """One trial.

    Attributes:
        sequences: Trained on; at most, where examples of unknown length share them.
        tokens: In these.
        steps: Of the optimizer.
        flops: Of the training, recomputed activations left out.
        exact: Whether these are known; else they are upper bounds.
    """

    sequences: int
    tokens: int
    steps: int
    flops: float
    exact: bool


def estimate_work(
    shape: Shape, training: TrainingSettings, example_tokens: int | None = None
) -> Work:
    """What one trial trains on.

    Args:
        shape: Of the model.
        training: The recipe.
        example_tokens: Mean tokens of an example where these are counted; None: a whole sequence
            each, which is the most that it can be.
    """
    length = training.sequence_length
    sequences = training.draws
    if training.unit == "examples" and example_tokens is not None:
        sequences = -(-training.draws * min(example_tokens, length) // length)
    tokens = sequences * length
    return Work(
        sequences=sequences,
        tokens=tokens,
        steps=-(-sequences // training.step_sequences),
        flops=tokens * shape.flops,
        exact=training.unit == "tokens" or example_tokens is not None,
    )


def estimate_hours(work: Work, fidelity: FidelitySettings, gpu: Gpu) -> float:
    """Hours of a training at `UTILISATION` of the peak of all its GPUs.

    With checkpointing the forward pass, a third of the FLOPs, is computed twice.
    """
    again = 4 / 3 if fidelity.training.gradient_checkpointing else 1.0
    speed = UTILISATION * gpu.flops * fidelity.launch.processes
    return work.flops * again / speed / 3600


def checkpoint_bytes(shape: Shape, training: TrainingSettings) -> int:
    """Disk of the checkpoints of a training under way, with the one that is being written."""
    one = (FLOAT32 + ADAMW) * shape.trained
    return one * (training.keep_checkpoints + 1)


def model_bytes(shape: Shape) -> int:
    """Disk of a finished model, in float32."""
    return FLOAT32 * shape.parameters
