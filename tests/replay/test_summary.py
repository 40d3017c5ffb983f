"""Summaries: means, intervals and comparisons from curves that are known."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from admire_pipeline.replay.summary import (
    ALL,
    curves_by_seed,
    grid_of,
    headline,
    shared,
    summarise,
    whole,
)


def campaign(policy: str, objective: str, seed: int, *regrets: float) -> pd.DataFrame:
    """A trial of cost 1 a regret, after a start at 1."""
    honest = [1.0, *regrets]
    return pd.DataFrame(
        {
            "policy": policy,
            "table": "runs",
            "problem": "pool",
            "objective": objective,
            "seed": seed,
            "step": range(len(honest)),
            "cost": [float(step) for step in range(len(honest))],
            "fidelity": ["", *["large"] * len(regrets)],
            "honest": honest,
            "published": pd.Series(honest).cummin(),
            "propose_seconds": 0.5,
            "recommend_seconds": 0.1,
            "budget": 4.0,
        }
    )


CURVES = pd.concat(
    [
        campaign("admire", "x", 0, 0.2, 0.4, 0.1),
        campaign("admire", "y", 0, 0.4, 0.0, 0.1),
        campaign("admire", "x", 1, 0.2, 0.2, 0.2),
        campaign("admire", "y", 1, 0.2, 0.2, 0.0),
        campaign("random", "x", 0, 0.9, 0.8),
        campaign("random", "y", 0, 0.7, 0.6),
        campaign("random", "x", 1, 0.8, 0.7),
        campaign("random", "y", 1, 0.8, 0.7),
    ],
    ignore_index=True,
)


def row(summary: pd.DataFrame, policy: str, objective: str = ALL) -> pd.Series:
    (found,) = [
        line
        for _, line in summary.iterrows()
        if (line["policy"], line["objective"]) == (policy, objective)
    ]
    return found


def test_objectives_are_averaged_seed_by_seed() -> None:
    curves = curves_by_seed(CURVES[CURVES["policy"] == "admire"])
    assert list(curves) == [0, 1]
    assert curves[0].values == pytest.approx([1, 0.3, 0.2, 0.1])


def test_there_is_a_row_a_policy_and_objective_and_one_for_their_mean() -> None:
    summary = summarise(CURVES, [1.0, 4.0])
    assert set(zip(summary["policy"], summary["objective"], strict=True)) == {
        (policy, objective) for policy in ("admire", "random") for objective in (ALL, "x", "y")
    }
    assert set(summary["table"]) == {"runs"}
    ours = row(summary, "admire")
    assert ours["seeds"] == 2
    assert ours["honest@1"] == pytest.approx(0.25)
    assert ours["honest@4"] == pytest.approx(0.1)
    assert row(summary, "admire", "x")["published@4"] == pytest.approx(0.15)
    assert row(summary, "admire", "x")["honest@4"] == pytest.approx(0.15)
    assert ours["area"] == pytest.approx((1 + 0.25 + 0.2 + 0.1) / 4)
    assert ours["reach@0.2"] == 2
    assert ours["reach@0.1"] == 3
    assert math.isinf(ours["reach@0.05"])
    assert ours["trials"] == 3
    assert ours["seconds_per_proposal"] == 0.5


def test_the_difference_to_ours_is_paired_over_seeds() -> None:
    third = CURVES[CURVES["seed"] == 1].assign(seed=2)
    summary = summarise(pd.concat([CURVES, third]), [4.0])
    gap = row(summary, "random")
    # Per seed: random (1 + .8 + 2 x .7) / 4; ours (1 + .6) / 4, 1.5 / 4 and 1.5 / 4.
    assert gap["area_less_ours"] == pytest.approx((3 * 3.2 - 1.6 - 2 * 1.5) / 4 / 3)
    assert 0 < gap["area_less_ours_low"] <= gap["area_less_ours"] <= gap["area_less_ours_high"]
    assert row(summary, "admire")["area_less_ours"] == 0
    assert math.isnan(row(summarise(CURVES, [4.0]), "random")["area_low"]), "of two seeds"
    assert "area_less_ours" not in summarise(CURVES[CURVES["policy"] == "random"], [4.0])


def test_the_mean_is_of_what_all_policies_have() -> None:
    """Without the objective that is hard for it, a policy would look better than it is."""
    lacking = CURVES[~((CURVES["policy"] == "random") & (CURVES["objective"] == "x"))]
    summary = summarise(lacking, [4.0])
    assert row(summary, "admire")["honest@4"] == row(summary, "admire", "y")["honest@4"]
    assert set(whole(summary)["policy"]) == {"admire", "random"}
    third = [campaign(policy, "z", seed, 0.5) for policy in ("admire", "random") for seed in (0, 1)]
    summary = summarise(pd.concat([lacking, *third]), [4.0])
    assert set(shared(pd.concat([lacking, *third]))["objective"]) == {"y", "z"}
    assert row(summary, "admire")["honest@4"] == pytest.approx((0.1 + 0.0 + 2 * 0.5) / 4)
    assert row(summary, "admire", "x")["honest@4"] == pytest.approx(0.15)


def test_a_seed_that_one_policy_lacks_is_not_in_the_mean() -> None:
    lacking = CURVES[
        ~((CURVES["policy"] == "random") & (CURVES["objective"] == "x") & (CURVES["seed"] == 1))
    ]
    summary = summarise(lacking, [4.0])
    # Of seed 1 both have the other objective alone.
    assert row(summary, "admire")["honest@4"] == pytest.approx((0.1 + 0.0) / 2)
    assert row(summary, "random")["honest@4"] == pytest.approx((0.7 + 0.7) / 2)


def test_a_single_objective_is_compared_on_the_seeds_that_all_policies_have() -> None:
    one = CURVES[CURVES["objective"] == "x"]
    lacking = one[~((one["policy"] == "random") & (one["seed"] == 1))]
    summary = summarise(lacking, [4.0])
    assert row(summary, "admire", "x")["honest@4"] == pytest.approx(0.1)
    assert set(summary["seeds"]) == {1}


def test_where_nothing_is_shared_there_is_no_mean() -> None:
    ours = CURVES["policy"] == "admire"
    apart = CURVES[ours == (CURVES["objective"] == "x")]
    summary = summarise(apart, [4.0])
    assert len(summary) == 2 and whole(summary).empty
    assert headline(apart) == {}


def test_a_campaign_that_ran_while_the_machine_slept_does_not_count_in_seconds() -> None:
    slept = (CURVES["policy"] == "admire") & (CURVES["objective"] == "x") & (CURVES["seed"] == 0)
    curves = CURVES.assign(propose_seconds=CURVES["propose_seconds"].where(~slept, 2254.0))
    assert row(summarise(curves, [4.0]), "admire")["seconds_per_proposal"] == 0.5


def test_a_single_objective_is_its_own_mean() -> None:
    summary = summarise(CURVES[CURVES["objective"] == "x"], [4.0])
    assert set(summary["objective"]) == {"x"}


def test_the_headline_names_measures_and_policies() -> None:
    found = headline(CURVES)
    assert found["regret.admire"] == pytest.approx(0.1)
    assert found["cost_to_reach_0.1.admire"] == 3
    assert {name.partition(".")[0] for name in found} >= {"regret", "area", "cost_to_reach_0"}
    assert headline(CURVES.iloc[:0]) == {}


@pytest.mark.parametrize(
    ("budget", "cheapest", "expected"),
    [
        (15, 0.1774, [1, 2, 5, 10, 15]),
        (2, 0.001, [0.1, 0.2, 0.5, 1, 2]),
        (3, 1, [1, 2, 3]),
        (0.01, 0.02, [0.01]),
        (5, 5, [5]),
    ],
)
def test_the_grid_is_of_round_costs(budget: float, cheapest: float, expected: list[float]) -> None:
    assert grid_of(budget, cheapest) == expected
