"""What makes scores of one fidelity comparable."""

from __future__ import annotations

import hashlib

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.objective import ObjectiveSettings
from admire_pipeline.training.pretrained import checkpoint_identity
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings, TrainingSettings

_SPEED_ONLY = {
    "checkpoint_seconds",
    "keep_checkpoints",
    "evaluations",
    "compile",
    "gradient_checkpointing",
    "liger",
    "batch_size",
    "gradient_accumulation",
}
"""Settings of a training that its result does not depend on, but for rounding; of the last two, on
their product alone."""


def training_identity(training: TrainingSettings) -> str:
    """What the result of a training depends on, of its settings."""
    return f"{training.model_dump_json(exclude=_SPEED_ONLY)} {training.step_sequences}"


def recipe_hash(
    corpus: Corpus,
    fidelity: FidelitySettings,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
    questions: str = "",
) -> str:
    """Hash of all that a score depends on besides mixture and seed.

    The text, the model (of a checkpoint: what it holds) and its training, how much is evaluated
    and how it is weighed. What only decides speed, cost or curves is left out and may be changed
    within a campaign.

    Args:
        corpus: The text.
        fidelity: The model and its training.
        evaluation: What is measured.
        objective: What counts.
        questions: Hash of the questions of the user's own tasks (`questions_hash`).
    """
    parts = (
        corpus.manifest["hash"],
        fidelity.model.model_dump_json(exclude={"shape", "attention"}),
        checkpoint_identity(fidelity.model) if fidelity.model.checkpoint is not None else "",
        training_identity(fidelity.training),
        f"{evaluation.max_bytes} {evaluation.chat}",
        # Of the user's own tasks the questions count, wherever they lie.
        *(f"{name} {t.model_dump_json(exclude={'path'})}" for name, t in evaluation.tasks.items()),
        objective.model_dump_json(),
        questions,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
