from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admire_pipeline.optimizer.costs import PRESET_SD, TRIAL_SD, learn_costs

PRESET = {"nano": 0.25, "micro": 0.5, "small": 2.0}
NAMES = st.sampled_from(list(PRESET))
SECONDS = st.floats(1e-2, 1e7)
TRIALS = st.lists(st.tuples(NAMES, SECONDS), max_size=30)


def trials_of(costs: dict[str, float], count: int, seed: int = 0) -> list[tuple[str, float]]:
    """Trials of 40 s a unit of cost, with the noise that the model expects."""
    noise = np.random.default_rng(seed).normal(0, TRIAL_SD, (count, len(costs)))
    return [
        (name, 40 * cost * math.exp(noise[row, column]))
        for row in range(count)
        for column, (name, cost) in enumerate(costs.items())
    ]


def test_nothing_measured_is_as_configured() -> None:
    assert learn_costs(PRESET, []) == PRESET


@given(NAMES, st.lists(SECONDS, min_size=1, max_size=20))
def test_one_fidelity_alone_tells_nothing_of_the_others(name: str, seconds: list[float]) -> None:
    """Only how many seconds a unit of cost takes."""
    learned = learn_costs(PRESET, [(name, value) for value in seconds])
    assert learned == pytest.approx(PRESET, rel=1e-9)


@given(TRIALS, st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_matter(trials: list[tuple[str, float]], random) -> None:
    shuffled = list(trials)
    random.shuffle(shuffled)
    assert learn_costs(PRESET, shuffled) == learn_costs(PRESET, trials)


@given(TRIALS)
def test_costs_are_positive_and_at_most_the_targets(trials: list[tuple[str, float]]) -> None:
    learned = learn_costs(PRESET, trials)
    assert list(learned) == list(PRESET) and learned["small"] == PRESET["small"]
    assert all(0 < cost <= PRESET["small"] for cost in learned.values())


@given(TRIALS, st.floats(0.01, 100))
def test_a_machine_that_is_slower_throughout_changes_nothing(trials, factor: float) -> None:
    slower = [(name, value * factor) for name, value in trials]
    assert learn_costs(PRESET, slower) == pytest.approx(learn_costs(PRESET, trials), rel=1e-4)


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0])
def test_many_trials_overrule_the_preset(factor: float) -> None:
    true = PRESET | {"micro": PRESET["micro"] * factor}
    learned = learn_costs(PRESET, trials_of(true, 200))
    assert learned == pytest.approx(true, rel=0.05)


def test_few_trials_are_believed_in_part() -> None:
    """One trial of each: half the target's cost is configured, the same was measured."""
    learned = learn_costs({"nano": 0.5, "small": 1.0}, [("nano", 40), ("small", 40)])
    assert 0.6 < learned["nano"] < 1.0


def test_without_outliers_it_is_the_gaussian_posterior() -> None:
    """With no deviations at all, every trial has the precision of a typical one."""
    learned = learn_costs({"nano": 0.5, "small": 1.0}, [("nano", 20), ("small", 40)] * 3)
    assert learned == pytest.approx({"nano": 0.5, "small": 1.0}, rel=1e-9)
    slow = math.exp(0.1)
    learned = learn_costs({"nano": 0.5, "small": 1.0}, [("nano", 20 * slow), ("small", 40)] * 300)
    assert learned["nano"] == pytest.approx(0.5 * slow, rel=1e-3)


@pytest.mark.parametrize("name", list(PRESET))
@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_trial_that_slept_overnight_moves_little(name: str, count: int) -> None:
    trials = trials_of(PRESET, count)
    before = learn_costs(PRESET, trials)
    after = learn_costs(PRESET, [*trials, (name, 40_000)])
    assert after == pytest.approx(before, rel=0.15)


@pytest.mark.parametrize("name", list(PRESET))
def test_even_the_only_trial_of_its_size_is_doubted(name: str) -> None:
    """A thousand times too slow: the preset has more of a say."""
    trials = [(other, seconds) for other, seconds in trials_of(PRESET, 3) if other != name]
    learned = learn_costs(PRESET, [*trials, (name, 40_000)])
    assert learned == pytest.approx(PRESET, rel=0.3)


def test_a_smaller_size_never_costs_more_than_the_target() -> None:
    learned = learn_costs(PRESET, trials_of(PRESET | {"nano": 9.0}, 50))
    assert learned["nano"] == PRESET["small"]


def test_the_prior_is_as_wide_as_it_says() -> None:
    """Of a small surprise in one trial of each, the preset's error takes its share."""
    surprise = 0.2
    learned = learn_costs(
        {"nano": 0.5, "small": 1.0}, [("nano", 20 * math.exp(surprise)), ("small", 40)]
    )
    share = math.log(learned["nano"] / 0.5) / surprise
    assert share == pytest.approx(PRESET_SD**2 / (PRESET_SD**2 + TRIAL_SD**2), abs=0.06)
