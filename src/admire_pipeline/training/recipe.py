"""What makes scores of one fidelity comparable."""

from __future__ import annotations

import hashlib

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.objective import ObjectiveSettings
from admire_pipeline.training.pretrained import checkpoint_identity
from admire_pipeline.training.settings import EvaluationSettings, FidelitySettings

SPEED_ONLY = {
    "checkpoint_seconds",
    "keep_checkpoints",
    "evaluations",
    "compile",
    "gradient_checkpointing",
    "liger",
}
"""Settings of a training that its result does not depend on, but for rounding."""


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
        fidelity.training.model_dump_json(exclude=SPEED_ONLY),
        evaluation.model_dump_json(include={"max_bytes", "tasks", "chat"}),
        objective.model_dump_json(),
        questions,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
