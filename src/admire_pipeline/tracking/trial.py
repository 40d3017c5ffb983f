"""A trial: one mixture trained at one fidelity, and what is known of it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from admire_pipeline.names import DomainName, FidelityName, RunId


class TrialStatus(StrEnum):
    """What a trial means to the optimizer."""

    PENDING = "pending"
    OBSERVED = "observed"
    FAILED = "failed"


@dataclass(frozen=True)
class TrialDraft:
    """A proposal that has no MLflow run yet.

    Attributes:
        mixture: Share of the training tokens per domain, sum 1.
        fidelity: Name of the model size.
        cost: Expected cost, in the campaign's unit.
        policy: Who proposed it.
        phase: `design` (set-up phase), `proof` (of the smaller sizes) or `search`.
        acquisition_value: Of the proposal, where the policy has one.
        based_on: Run ids of the trials that the proposal was based on.
        campaign_seed: Seed of the campaign, from which the trial's own seed follows.
        recipe: Hash of what the score depends on besides mixture and fidelity.
        provenance: Parameters that say which state of models and data it is made from.
    """

    mixture: Mapping[str, float]
    fidelity: str
    cost: float
    policy: str
    phase: str
    acquisition_value: float | None
    based_on: tuple[str, ...]
    campaign_seed: int
    recipe: str
    provenance: Mapping[str, str] = field(default_factory=dict)


def _intern(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One copy of each text: thousands of trials have the same names, and much the same values."""
    return {
        sys.intern(name): sys.intern(value) if isinstance(value, str) else value
        for name, value in pairs
    }


def _check_mixture(mixture: Mapping[str, float]) -> Mapping[str, float]:
    if not math.isclose(sum(mixture.values()), 1, abs_tol=1e-6):
        raise ValueError(f"weights sum to {sum(mixture.values()):g}; allowed: 1")
    return mixture


def _check_error(error: float) -> float:
    if error < 0:
        raise ValueError(f"{error:g} is not allowed; allowed: at least 0, or nan")
    return error


def _check_provenance(provenance: Mapping[str, str]) -> Mapping[str, str]:
    revision = provenance.get("model.revision", "config")
    # It becomes a part of the path of what is fetched from the Hub.
    if not re.fullmatch("[0-9a-f]{1,64}|config", revision):
        raise ValueError(f"model.revision: {revision[:80]!r}; allowed: a commit, a hash or config")
    return provenance


_MOST = 1e100
"""What no score or cost is; the square of a larger number might not be one."""
_Word = Annotated[str, Field(pattern=r"^[\w.\- ]+$", max_length=100)]
_Weight = Annotated[float, Field(ge=0, le=1 + 1e-9)]
_Mixture = Annotated[Mapping[DomainName, _Weight], AfterValidator(_check_mixture)]
_Amount = Annotated[float, Field(ge=0, le=_MOST)]
_Error = Annotated[float, AfterValidator(_check_error)]


@checked_dataclass(frozen=True, config=ConfigDict(strict=True))
class Trial:
    """A trial with its MLflow run: what others could have written there is checked.

    Attributes:
        run_id: MLflow run.
        name: Name of the run, e.g. `trial-007-nano`.
        mixture: Share of the training tokens per domain, sum 1.
        fidelity: Name of the model size.
        cost: In the campaign's unit; expected while the trial is pending.
        seed: Of everything random in the trial, below 2**31.
        policy: Who proposed it.
        phase: `design`, `proof` or `search`.
        recipe: Hash of what the score depends on besides mixture and fidelity.
        status: What it means to the optimizer.
        score: Objective, maximised; None unless observed.
        score_standard_error: Of the score; None where it is not known.
        metrics: Each evaluation metric, in its own direction.
        metric_errors: Standard error of each metric, where it is known.
        device_seconds: Seconds of training and evaluation, interruptions left out, times the
            devices that they took; None unless observed.
        provenance: Parameters that say which state of models and data it is made from.
    """

    run_id: RunId
    name: _Word
    mixture: _Mixture
    fidelity: FidelityName
    cost: _Amount
    seed: int
    policy: _Word
    phase: _Word
    recipe: _Word
    status: TrialStatus = TrialStatus.PENDING
    score: Annotated[float, Field(ge=-_MOST, le=_MOST)] | None = None
    score_standard_error: _Error | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metric_errors: Mapping[str, _Error] = field(default_factory=dict)
    device_seconds: _Amount | None = None
    provenance: Annotated[Mapping[str, str], AfterValidator(_check_provenance)] = field(
        default_factory=dict
    )

    def to_json(self) -> str:
        """The trial as indented JSON; floats read back bit for bit."""
        return json.dumps(asdict(self), indent=2)

    def to_line(self) -> str:
        """The same in one line, which `from_line` reads."""
        # As `asdict`, which copies all that is in it.
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Trial:
        """The trial of a line.

        Raises:
            ValueError: If it is not whole.
            TypeError: If it has other fields.
        """
        values = json.loads(line, object_pairs_hook=_intern)
        return cls(**{**values, "status": TrialStatus(values["status"])})


@dataclass(frozen=True)
class Observation:
    """What ends a trial: its final metrics (`score` among them) and late parameters."""

    metrics: Mapping[str, float]
    params: Mapping[str, object]


def spent(trials: Iterable[Trial]) -> float:
    """What trials have cost, failed and pending ones included."""
    return sum(trial.cost for trial in trials)


def derive_seed(campaign_seed: int, *parts: str | int) -> int:
    """A seed below 2**31 that follows from the campaign's seed and `parts` alone."""
    text = ":".join(str(part) for part in (campaign_seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
