from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.optimizer import PolicySettings, Space, Trials, propose
from admire_pipeline.optimizer.bayesian import Admire
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.costs import learn_costs
from admire_pipeline.pipelines.search import (
    SearchSettings,
    build_space,
    current_costs,
    mixture_by_domain,
    tabulate_trials,
    with_costs,
)
from admire_pipeline.tracking import CampaignSettings, Trial, TrialStatus, spent
from admire_pipeline.training.settings import Ladder

MODEL = {"model": {"config": {"model_type": "llama"}}}
RECIPE = {
    "training": {"tokens": 64, "sequence_length": 8, "batch_size": 1, "learning_rate": 0.1},
}
RECIPES = {"nano": "r", "small": "r"}
OBSERVED = Trial(
    run_id="1" * 32,
    name="trial-001-nano",
    mixture={"b": 0.75, "a": 0.25},
    fidelity="nano",
    cost=0.1,
    seed=1,
    policy="random",
    phase="search",
    recipe="r",
    status=TrialStatus.OBSERVED,
    score=-2.0,
    metrics={"accuracy.b": 1.0, "bits_per_byte.a": 5.0, "bits_per_byte.c": 7.0},
    metric_errors={"bits_per_byte.a": 0.25},
)


LADDER = Ladder.model_validate(
    {"nano": {"cost": 0.1, **MODEL, **RECIPE}, "small": {"cost": 1.0, **MODEL, **RECIPE}}
)
MEASURED = CampaignSettings(name="c", budget=9, seed=0, costs="measured")


@pytest.fixture
def space() -> Space:
    search = SearchSettings(policy="random", design_trials=1)
    return build_space(["a", "b"], search, LADDER, {"bits_per_byte.a": -0.5, "accuracy.b": 0.5})


def test_the_policy_gets_what_was_set() -> None:
    search = SearchSettings(policy="admire", design_trials=3, proof_trials=1)
    assert search.build_policy().settings == PolicySettings(design_trials=3, proof_trials=1)


def test_the_policy_gets_the_bounds_on_metrics() -> None:
    bounds = {"acc.b": {"at_least": 0.5}, "bits_per_byte.a": {"at_most": 2, "probability": 0.99}}
    search = SearchSettings.model_validate({"policy": "admire", "constraints": bounds})
    policy = search.build_policy()
    assert isinstance(policy, Admire)
    assert policy.constraints == (
        Constraint("acc.b", at_least=0.5, probability=0.9),
        Constraint("bits_per_byte.a", at_most=2.0, probability=0.99),
    )


def test_the_last_fidelity_is_the_target(space: Space) -> None:
    assert space.target.name == "small"


def test_table_follows_the_space(space: Space) -> None:
    """A failed trial stays in it: it is not tried again."""
    failed = replace(OBSERVED, run_id="2" * 32, status=TrialStatus.FAILED, score=None)
    pending = replace(OBSERVED, run_id="3" * 32, status=TrialStatus.PENDING, score=None)
    table = tabulate_trials([OBSERVED, failed, pending], space, RECIPES)
    assert table["trial"].tolist() == ["1" * 32, "2" * 32, "3" * 32]
    assert table["status"].tolist() == ["observed", "failed", "pending"]
    assert table[["mixture.a", "mixture.b"]].to_numpy().tolist() == [[0.25, 0.75]] * 3
    assert table["score"].isna().tolist() == [False, True, True]


def test_table_has_the_metrics_of_the_objective(space: Space) -> None:
    """Only those, only of observed trials, and their weighted sum is the score."""
    failed = replace(OBSERVED, run_id="2" * 32, status=TrialStatus.FAILED, score=None)
    table = tabulate_trials([failed, OBSERVED], space, RECIPES)
    metrics = table[[f"metric.{name}" for name in space.objective]]
    assert metrics.iloc[0].isna().all() and metrics.iloc[1].tolist() == [5.0, 1.0]
    assert (metrics.iloc[1] * list(space.objective.values())).sum() == OBSERVED.score
    assert table["metric_se.bits_per_byte.a"].tolist()[1] == 0.25
    assert table["metric_se.accuracy.b"].isna().all()
    assert "metric.bits_per_byte.c" not in table
    assert np.array_equal(
        Trials.from_frame(space, table).metrics, [[np.nan, np.nan], [5.0, 1.0]], equal_nan=True
    )


def test_failures_of_another_recipe_do_not_count(space: Space) -> None:
    failed = replace(OBSERVED, status=TrialStatus.FAILED, score=None, recipe="old")
    assert len(tabulate_trials([failed], space, RECIPES)) == 0


def test_empty_history(space: Space) -> None:
    assert len(tabulate_trials([], space, RECIPES)) == 0


@pytest.mark.parametrize(
    "trial",
    [
        replace(OBSERVED, mixture={"a": 0.5, "c": 0.5}),
        replace(OBSERVED, mixture={"a": 1.0}),
        replace(OBSERVED, fidelity="huge"),
        replace(OBSERVED, recipe="another"),
    ],
)
def test_history_of_another_space_is_refused(space: Space, trial: Trial) -> None:
    with pytest.raises(UserError, match=r"campaign\.name: its trial trial-001-nano .* new"):
        tabulate_trials([trial], space, RECIPES)


def test_failed_and_pending_trials_cost_too() -> None:
    trials = [replace(OBSERVED, status=status) for status in TrialStatus]
    assert spent(trials) == pytest.approx(0.3)


def test_mixture_by_domain(space: Space) -> None:
    assert mixture_by_domain(np.array([0.25, 0.75]), space) == {"a": 0.25, "b": 0.75}


def test_costs_are_learned_only_where_that_is_asked_for() -> None:
    timed = [
        replace(OBSERVED, device_seconds=8.0),
        replace(OBSERVED, fidelity="small", device_seconds=10.0),
        replace(OBSERVED, device_seconds=None),
    ]
    preset = {"nano": 0.1, "small": 1.0}
    asked = MEASURED.model_copy(update={"costs": "configured"})
    assert current_costs(asked, LADDER, timed) == preset
    assert current_costs(MEASURED, LADDER, []) == preset
    learned = current_costs(MEASURED, LADDER, timed)
    assert learned == learn_costs(preset, [("nano", 8.0), ("small", 10.0)])
    assert learned["nano"] > 0.3 and learned["small"] == 1.0


def test_the_policy_decides_by_the_learned_costs(space: Space) -> None:
    """A size that was thought next to free is not tried before the target once it is known not
    to be."""
    trials = [
        replace(
            OBSERVED,
            run_id=f"{i:032d}",
            name=f"trial-{i:03d}",
            fidelity=fidelity,
            device_seconds=10.0,
        )
        for i, fidelity in enumerate(["nano", "nano", "small"])
    ]
    table = tabulate_trials(trials, space, RECIPES)
    policy = SearchSettings(policy="admire", design_trials=9).build_policy()
    free = with_costs(space, {"nano": 0.001, "small": 1.0})
    learned = with_costs(space, current_costs(MEASURED, LADDER, trials))
    assert propose(free, table, policy, seed=0).fidelity == "nano"
    proposal = propose(learned, table, policy, seed=0)
    assert proposal.fidelity == "small" and proposal.cost == 1.0
