"""Which trials of a campaign may lose their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admire_pipeline.tracking.trial import Trial

if TYPE_CHECKING:
    from admire_pipeline.tracking.store import CampaignStore


def unneeded_weights(store: CampaignStore, target: str) -> list[Trial]:
    """The trials that `campaign.keep_weights` keeps no weights of, oldest first.

    Only ended ones: the weights of any other are yet to be evaluated, here or by another worker.
    The answer follows from the history alone, so that a worker which is killed before it acts on it
    leaves that to the next step. It does not hurt if another trial ends meanwhile: what is not
    among the best k of a part of the history is not among those of the whole.

    Args:
        store: The campaign.
        target: The fidelity whose best trials are kept.
    """
    if store.settings.models_kept is None:
        return []
    ended = store.ended()
    scores = {t.run_id: t.score for t in ended if t.fidelity == target and t.score is not None}
    best = sorted(scores, key=lambda run_id: scores[run_id], reverse=True)
    kept = set(best[: store.settings.models_kept])
    return [trial for trial in ended if trial.run_id not in kept]
