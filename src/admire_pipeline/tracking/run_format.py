"""A trial as an MLflow run: what is written where, and how it is read back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from admire_pipeline.errors import UserError
from admire_pipeline.names import printable
from admire_pipeline.tracking.lease import outcome
from admire_pipeline.tracking.trial import Trial, TrialDraft, TrialStatus, derive_seed

if TYPE_CHECKING:
    from mlflow.entities import Run

PROPOSAL = "admire.proposal"
"""Parameter: once it stands, no other worker can write another."""
PARAM_LIMIT = 6000
"""Characters that MLflow keeps of a parameter."""
NUMBER = "admire.number"
"""Tag: the number that the run has in the ledger, or was to have."""
RESUMABLE = "admire.resumable"
REASON = "admire.reason"
EVAL = "eval."
EVAL_ERROR = "eval_standard_error."
TAG_LIMIT = 8000
"""Characters that MLflow keeps of a tag."""
PROVENANCE = ("model.", "data.")
"""How the parameters begin that say what a trial is made from."""
SECONDS = ("training_seconds", "evaluation_seconds")
"""Metrics that make up the time of a trial."""


def write_proposal(draft: TrialDraft) -> str:
    """The proposal as one parameter, so that it stands whole or not at all."""
    return json.dumps(
        {
            "mixture": dict(draft.mixture),
            "fidelity": draft.fidelity,
            "cost": draft.cost,
            "policy": draft.policy,
            "phase": draft.phase,
            "campaign_seed": draft.campaign_seed,
            "recipe": draft.recipe,
        },
        separators=(",", ":"),
    )


def lineage_tag(based_on: tuple[str, ...]) -> str:
    """Run ids the proposal was based on, the latest first, as many as a tag holds."""
    latest = ""
    for run_id in reversed(based_on):
        longer = f"{latest},{run_id}" if latest else run_id
        if len(longer) > TAG_LIMIT:
            break
        latest = longer
    return latest


def draft_name(number: int) -> str:
    """Name of a run whose trial is not proposed yet."""
    return f"trial-{number:03d}"


def number_of(run: Run) -> int:
    """The number that the run has in the ledger, or was to have.

    Raises:
        UserError: If somebody has written another thing there.
    """
    number = run.data.tags[NUMBER]
    if not re.fullmatch("[0-9]{1,9}", number):
        raise UserError(
            f"campaign.name: its run {run.info.run_id} has the tag {NUMBER}={number[:64]!r}; "
            "allowed: the trial's number in the ledger, or delete the run in MLflow"
        )
    return int(number)


def read_trial(run: Run) -> Trial:
    """The trial that a run holds.

    Raises:
        UserError: If somebody has written there what no worker writes.
    """
    try:
        return _read_trial(run)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"campaign.name: its run {printable(str(run.info.run_id))[:64]!r} is no trial that can "
            f"be read ({_explain(error)}); allowed: as a worker has written it, or delete the run "
            "in MLflow"
        ) from error


def _read_trial(run: Run) -> Trial:
    proposal = json.loads(run.data.params[PROPOSAL])
    metrics = run.data.metrics
    status = _status(run)
    observed = status is TrialStatus.OBSERVED
    return Trial(
        run_id=run.info.run_id,
        name=f"{draft_name(number_of(run))}-{proposal['fidelity']}",
        mixture=proposal["mixture"],
        fidelity=proposal["fidelity"],
        cost=metrics.get("cost", proposal["cost"]),
        seed=derive_seed(proposal["campaign_seed"], run.info.run_id),
        policy=proposal["policy"],
        phase=proposal["phase"],
        recipe=proposal["recipe"],
        status=status,
        score=metrics["score"] if observed else None,
        score_standard_error=metrics.get("score_standard_error") if observed else None,
        metrics=_named(metrics, EVAL),
        metric_errors=_named(metrics, EVAL_ERROR),
        device_seconds=_device_seconds(metrics) if observed else None,
        provenance={k: v for k, v in run.data.params.items() if k.startswith(PROVENANCE)},
    )


def _named(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}


def _device_seconds(metrics: Mapping[str, float]) -> float | None:
    """None where a part was not measured, as while the server was away."""
    parts = [metrics.get(name, 0.0) for name in SECONDS]
    return sum(parts) * metrics.get("devices", 1.0) if min(parts) > 0 else None


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        text = f"{where}: {fault['msg'].removeprefix('Value error, ')}"
    else:
        text = f"{type(error).__name__}: {error}"
    return printable(" ".join(text.split()))[:200]


ENDED = ("FINISHED", "FAILED")
"""Statuses of a run that nobody works on or takes up again."""


def is_over(run: Run) -> bool:
    """Whether its last holder has ended the run, so that it does not change any more."""
    return outcome(run) in ENDED


def is_proposed(run: Run) -> bool:
    """Whether the run is a trial; else it is a draft of one, or a run of the user's own."""
    return PROPOSAL in run.data.params and NUMBER in run.data.tags


def is_draft(run: Run) -> bool:
    """Whether a worker has made the run to propose a trial in it, and has not done so yet."""
    return NUMBER in run.data.tags and not is_proposed(run)


def is_scored(run: Run) -> bool:
    """Whether the run's trial has been evaluated; its report may be missing yet."""
    return "score" in run.data.metrics


def _status(run: Run) -> TrialStatus:
    if is_scored(run):
        return TrialStatus.OBSERVED
    return TrialStatus.FAILED if is_over(run) else TrialStatus.PENDING
