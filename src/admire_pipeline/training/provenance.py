"""Which state of its models and data a trial was made from, and keeping to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.pretrained import checkpoint_identity, follows_hub
from admire_pipeline.training.settings import FidelitySettings, Ladder

logger = logging.getLogger(__name__)

CHECKPOINT = "model.checkpoint"
REVISION = "model.revision"
CONTENT = 16
"""Characters of the hash that names the documents of a domain without commits."""


def provenance(corpus: Corpus, fidelity: FidelitySettings) -> dict[str, str]:
    """Parameters of a trial that say what it was made from.

    Args:
        corpus: Its text.
        fidelity: Its model.

    Returns:
        `model.revision`: commit of a Hub checkpoint, hash of a folder's files, `config` of a model
        from scratch; `model.checkpoint`, where there is one; `data.tokenizer`, as configured;
        `data.revision.<domain>`: commit of a Hub dataset, else the beginning of the hash of the
        documents.
    """
    place = fidelity.model.checkpoint
    model = {REVISION: "config"}
    if place is not None:
        model = {CHECKPOINT: place, REVISION: checkpoint_identity(fidelity.model)}
    domains = corpus.manifest["domains"].items()
    model["data.tokenizer"] = corpus.manifest["tokenizer"]["name"]
    return model | {
        f"data.revision.{name}": manifest.get("revision") or manifest["content_hash"][:CONTENT]
        for name, manifest in domains
    }


def pin_models(fidelities: Ladder, trials: Iterable[tuple[str, Mapping[str, str]]]) -> Ladder:
    """The ladder with each Hub checkpoint at a commit: what is pushed later does not matter.

    Args:
        fidelities: As configured.
        trials: Fidelity and provenance of the trials that count: a checkpoint without a revision
            stays at the commit that the last of them had it at.

    Raises:
        UserError: If a checkpoint of which no trial knows cannot be had.
    """
    # A fidelity that names a revision says nothing of another that follows the same repository.
    follows = {n for n, f in fidelities.root.items() if f.model.revision is None}
    known = {
        origin[CHECKPOINT]: origin[REVISION]
        for name, origin in trials
        if CHECKPOINT in origin and name in follows
    }
    return Ladder({name: _pin(name, f, known) for name, f in fidelities.root.items()})


def follow_hub(fidelities: Ladder) -> bool:
    """Whether a checkpoint is to be pinned: its name or tag may mean another commit tomorrow."""
    return any(follows_hub(fidelity.model) for fidelity in fidelities.root.values())


def _pin(name: str, fidelity: FidelitySettings, known: Mapping[str, str]) -> FidelitySettings:
    model = fidelity.model
    if not follows_hub(model):
        return fidelity
    commit = known.get(str(model.checkpoint)) if model.revision is None else None
    if commit is None:
        commit = checkpoint_identity(model)
        if model.revision is None:
            logger.warning(
                "fidelities.%s.model.revision: not pinned; %s is taken at its commit of now, "
                "set revision: %s to keep it",
                name,
                model.checkpoint,
                commit,
            )
    return fidelity.model_copy(update={"model": model.model_copy(update={"revision": commit})})
