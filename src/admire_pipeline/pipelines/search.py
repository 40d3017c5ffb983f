"""From config and history to what the optimizer works on: a space, a trials table, a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Policy, PolicySettings, Space, make_policy
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.costs import learn_costs
from admire_pipeline.pipelines.recipes import check_recipe
from admire_pipeline.tracking import CampaignSettings, Trial, TrialStatus
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.objective import (
    ObjectiveSettings,
    measured_metrics,
    signed_weights,
)
from admire_pipeline.training.settings import EvaluationSettings, Ladder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _pair(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    raise ValueError(f"{value!r} is not allowed; allowed: [least weight, greatest weight]")


Bounds = Annotated[tuple[float, float], BeforeValidator(_pair)]


class ConstraintSettings(BaseModel):
    """What a metric must be at the target: one bound, in the metric's own unit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    at_least: float | None = Field(default=None, strict=True)
    """Least value that is allowed, or else"""
    at_most: float | None = Field(default=None, strict=True)
    """the greatest."""
    probability: float = Field(default=0.9, gt=0, lt=1)
    """With which a recommended mixture is to keep it, as far as is known."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            given = "neither" if self.at_least is None else "both"
            raise ValueError(f"at_least and at_most: {given} given; allowed: exactly one")
        return self


class SearchSettings(BaseModel):
    """How the campaign searches."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    policy: str
    """`admire` (our default), `admire-target`, `admire-mfbo`, `admire-bo` or `random`."""
    design_trials: int | None = Field(default=None, gt=0)
    """Trials of the set-up phase: a space-filling design at the target and the smallest size;
    null: as many as it takes to tell the domains apart."""
    proof_trials: int = Field(default=PolicySettings().proof_trials, ge=0)
    """Trials of the target before smaller sizes that are not next to free, and where these come
    first, before they go on; 0 to trust them."""
    bounds: dict[str, Bounds] = Field(default_factory=dict)
    """Least and greatest weight per domain; [0, 1] for those not named."""
    constraints: dict[str, ConstraintSettings] = Field(default_factory=dict)
    """What the recommended mixture is to keep at the target, by metric, in the score or not
    (`bits_per_byte.<validation domain>` or `<metric>.<task>`)."""
    warm_start: str | None = Field(default=None, min_length=1)
    """Path of a run table whose runs inform the search and cost it nothing; null: none."""

    def build_policy(self) -> Policy:
        """The policy.

        Raises:
            ValueError: If its name is unknown, or it does not heed constraints.
        """
        settings = PolicySettings(design_trials=self.design_trials, proof_trials=self.proof_trials)
        return make_policy(self.policy, settings, self.build_constraints())

    def build_constraints(self) -> list[Constraint]:
        """The constraints, as the optimizer takes them."""
        return [
            Constraint(name, **bound.model_dump(exclude_none=True))
            for name, bound in self.constraints.items()
        ]


def build_space(
    domains: Sequence[str],
    search: SearchSettings,
    fidelities: Ladder,
    objective: Mapping[str, float] | None = None,
) -> Space:
    """Mixtures over the corpus' domains, the ladder of fidelities, and what the score is made of.

    Args:
        domains: Domains that are trained on.
        search: Its bounds.
        fidelities: The ladder.
        objective: Weight of each metric in the score (`signed_weights`).

    Raises:
        ValueError: If the bounds leave no feasible mixture.
    """
    return Space(
        mixtures=MixtureSpace.from_bounds(domains, search.bounds),
        fidelities=tuple(Fidelity(name, f.cost) for name, f in fidelities.root.items()),
        objective=dict(objective or {}),
    )


def campaign_space(
    corpus: Corpus | CorpusSettings,
    search: SearchSettings,
    fidelities: Ladder,
    evaluation: EvaluationSettings,
    objective: ObjectiveSettings,
) -> Space:
    """The campaign's space: what may be tried, and the metrics that its score is made of.

    Args:
        corpus: Built or not: only its domains' names count.
        search: The bounds.
        fidelities: The ladder.
        evaluation: What is measured.
        objective: What the score is made of.

    Raises:
        ValueError: If the bounds leave no feasible mixture.
    """
    domains = corpus if isinstance(corpus, CorpusSettings) else corpus.settings
    measured = measured_metrics(domains.evaluated, evaluation)
    # The policy knows metrics under a constraint, in the score or not.
    weights = dict.fromkeys(search.constraints, 0.0)
    weights |= signed_weights(measured, objective.weights)
    return build_space(domains.trained, search, fidelities, weights)


def current_costs(
    campaign: CampaignSettings, fidelities: Ladder, trials: Sequence[Trial]
) -> dict[str, float]:
    """What the next trial is expected to cost at each fidelity, in the campaign's unit.

    What trials were expected to cost when they were proposed stays as it was, and so what is spent.
    """
    configured = {name: fidelity.cost for name, fidelity in fidelities.root.items()}
    if campaign.costs == "configured":
        return configured
    return learn_costs(
        configured, [(t.fidelity, t.device_seconds) for t in trials if t.device_seconds]
    )


def with_costs(space: Space, costs: Mapping[str, float]) -> Space:
    """The same space at these costs."""
    fidelities = (Fidelity(fidelity.name, costs[fidelity.name]) for fidelity in space.fidelities)
    return replace(space, fidelities=tuple(fidelities))


def tabulate_trials(
    trials: Sequence[Trial], space: Space, recipes: Mapping[str, str]
) -> pd.DataFrame:
    """The trials as the optimizer's table, one row each.

    Metrics of the objective, and their standard errors where they are known, are columns
    `metric.<name>` and `metric_se.<name>`; only observed trials have them.

    Args:
        trials: The history.
        space: The campaign's space.
        recipes: Hash of the configured recipe per fidelity (`recipe_hash`).

    Raises:
        UserError: If a trial that counts is over other domains, fidelities or recipes than the
            config: its score would not compare.
    """
    import numpy as np
    import pandas as pd

    domains = space.mixtures.domains
    counted = []
    for trial in trials:
        failed = trial.status is TrialStatus.FAILED
        if failed and recipes.get(trial.fidelity) != trial.recipe:
            continue
        if trial.mixture.keys() != set(domains):
            raise UserError(
                f"campaign.name: its trial {trial.name} is over domains {sorted(trial.mixture)}, "
                f"the config has {sorted(domains)}; allowed: the same, or a new campaign.name"
            )
        check_recipe(trial, recipes)
        counted.append(trial)

    def numbers(values: Iterable[float | None]) -> np.ndarray:
        return np.array(list(values), dtype=np.float64)  # None becomes NaN

    def words(values: Iterable[str]) -> np.ndarray:
        return np.array(list(map(str, values)), dtype=object)

    observed = [trial.status is TrialStatus.OBSERVED for trial in counted]
    metrics = [t.metrics if seen else {} for t, seen in zip(counted, observed, strict=True)]
    errors = [t.metric_errors if seen else {} for t, seen in zip(counted, observed, strict=True)]
    # By columns: rows of dictionaries would be as large as the history once more.
    return pd.DataFrame(
        {
            "trial": words(trial.run_id for trial in counted),
            "fidelity": words(trial.fidelity for trial in counted),
            "status": words(trial.status for trial in counted),
            "score": numbers(trial.score for trial in counted),
            "score_se": numbers(trial.score_standard_error for trial in counted),
            "cost": numbers(trial.cost for trial in counted),
        }
        | {f"mixture.{name}": numbers(t.mixture[name] for t in counted) for name in domains}
        | {
            f"{prefix}.{name}": numbers(of_each.get(name) for of_each in values)
            for prefix, values in (("metric", metrics), ("metric_se", errors))
            for name in space.objective
        }
    )


def mixture_by_domain(mixture: np.ndarray, space: Space) -> dict[str, float]:
    """A point of the simplex, `K`, with its domains' names."""
    return dict(zip(space.mixtures.domains, map(float, mixture), strict=True))
