"""Trials in MLflow: the campaign's state.

`store.CampaignStore` is imported from its own module: pipelines are registered without it, and
`kedro registry list` stays fast.
"""

from admire_pipeline.tracking.settings import CampaignSettings, WorkerSettings
from admire_pipeline.tracking.trial import Trial, TrialDraft, TrialStatus, derive_seed, spent

__all__ = [
    "CampaignSettings",
    "Trial",
    "TrialDraft",
    "TrialStatus",
    "WorkerSettings",
    "derive_seed",
    "spent",
]
