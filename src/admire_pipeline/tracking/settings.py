"""Settings of a campaign: its name, budget and where its trials are kept."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$"
"""What MLflow takes in experiment and parameter names on every backend, without path characters."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]


class CampaignSettings(BaseModel):
    """What makes a campaign: steps that share one MLflow experiment."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Name
    """MLflow experiment of the campaign; another name starts another campaign."""
    budget: float = Field(gt=0)
    """Compute the campaign may spend, in the unit of the fidelities' costs; a step is begun while
    less than this is spent, so the last one may go over it."""
    seed: int = Field(ge=0)
    """Every random choice (design, acquisition, order of training data, initial weights) follows
    from this seed and the trial's run id."""
    costs: Literal["configured", "measured"] = "configured"
    """Whether a new trial is expected to cost what `fidelities.<name>.cost` says, or what the
    campaign's trials have taken, as far as they are a better guide (`learn_costs`)."""
    tracking_uri: str | None = None
    """MLflow tracking server; null: MLFLOW_TRACKING_URI where it is set, else SQLite in `data/`."""
    heartbeat_timeout: float = Field(default=600.0, gt=0, le=1e6)
    """Seconds without a sign of life after which a trial of another machine counts as interrupted;
    a trial of this machine does as soon as its process is gone."""
    server_timeout: float = Field(default=10.0, gt=0, le=3600)
    """Seconds a step waits for the tracking server before it gives up, before any compute."""
    keep_weights: str = "all"
    """Which finished trials keep the weights of their model on this machine: all, none, or best-<k>
    for the k best at the target. Failed ones keep theirs, and their checkpoints, only with all."""

    @field_validator("keep_weights")
    @classmethod
    def _known_policy(cls, keep: str) -> str:
        if not re.fullmatch(r"all|none|best-[1-9][0-9]*", keep):
            raise ValueError(f"{keep!r} is not allowed; allowed: all, none, or best-<k>: best-3")
        return keep

    @property
    def models_kept(self) -> int | None:
        """How many trials at the target keep their weights; None: every trial does."""
        if self.keep_weights == "all":
            return None
        return 0 if self.keep_weights == "none" else int(self.keep_weights.removeprefix("best-"))


class WorkerSettings(BaseModel):
    """What one of the processes that work on a campaign takes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fidelities: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Model sizes that it trains, new trials and interrupted ones; null: all."""
