"""Campaigns with more trials than the surrogate is fitted to."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.optimizer import (
    PolicySettings,
    Space,
    Trials,
    fitting,
    make_policy,
    propose,
    recommend,
    subset,
)
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.subset import representative
from tests.optimizer.tables import hill_frame, make_frame, make_pools, make_space, with_metrics

SPACE = make_space(3)
SEARCH = PolicySettings(design_trials=1)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that a short history exceeds."""
    monkeypatch.setattr(subset, "LIMIT", 16)
    return 16


def observed(fidelities: list[int], seed: int = 0) -> Trials:
    return Trials.from_frame(SPACE, hill_frame(SPACE, fidelities, seed))


def numbers(trials: Trials) -> list[int]:
    return [int(name[1:]) for name in trials.names]


def test_up_to_the_limit_every_trial_counts(limit: int) -> None:
    trials = observed([0, 1, 2, 0] * 4)
    assert representative(trials) is trials
    assert len(representative(observed([0] * (limit + 1)))) == limit


def test_the_latest_of_the_largest_sizes_and_an_even_choice_of_the_rest(limit: int) -> None:
    # Two of the target and eight of the next size: six of these, the latest, fill up one half.
    sizes = [0, 1, 2, 1] + [0] * 60 + [1] * 6 + [0] * 29 + [2]
    chosen = numbers(representative(observed(sizes)))
    assert chosen == sorted([2, *range(64, 70), 99] + [7, 15, 23, 31, 47, 63, 79, 95])
    # Where only the target was tried, early trials count too.
    chosen = numbers(representative(observed([2] * 100)))
    assert chosen == [7, 15, 23, 31, 39, 47, 63, 79, *range(92, 100)]


def test_scores_play_no_part_in_the_choice(limit: int) -> None:
    frame = hill_frame(SPACE, [0, 1, 2, 0] * 20)
    chosen = representative(Trials.from_frame(SPACE, frame)).names
    frame["score"] = -frame["score"]
    assert representative(Trials.from_frame(SPACE, frame)).names == chosen


def test_one_more_trial_hardly_changes_the_choice(limit: int) -> None:
    sizes = [0, 1, 0, 2, 0] * 30
    for count in range(100, 150):
        before = set(numbers(representative(observed(sizes[:count]))))
        after = set(numbers(representative(observed(sizes[: count + 1]))))
        assert len(after - before) <= 2


def test_a_proposal_rests_on_the_choice(limit: int) -> None:
    space, frame = with_metrics(SPACE, hill_frame(SPACE, [2, 0, 1, 0] * 20), {"a": 1.0, "b": -0.5})
    proposal = propose(space, frame, make_policy("admire", SEARCH), 0)
    assert proposal.based_on == representative(Trials.from_frame(space, frame)).names
    assert recommend(space, frame, make_policy("admire", SEARCH), 0) is not None


def test_in_a_pool_every_recorded_score_counts(limit: int) -> None:
    space = make_pools(make_space(3, (0.1, 1.0)), (4, 60))
    scores = np.zeros(50)
    scores[2] = 5.0  # an early trial of the target, left out of the choice
    frame = make_frame(space, space.pools[1][:50], [1] * 50, scores.tolist())
    assert "t2" not in representative(Trials.from_frame(space, frame)).names
    recommendation = recommend(space, frame, make_policy("admire"), 0)
    assert recommendation is not None and recommendation.trial == "t2"


def kept(space: Space, frame: pd.DataFrame) -> int:
    with patch.object(fitting, "_LEAST_PROBABILITY", 0.0):
        surrogate = fit(space, Trials.from_frame(space, frame), SurrogateSettings())
    return len(surrogate.draws)


def test_the_more_trials_the_fewer_draws() -> None:
    frame = hill_frame(SPACE, [0, 1, 2, 0] * 100)
    assert kept(SPACE, frame[:181]) == 32
    assert kept(SPACE, frame[:256]) == 16
    assert kept(SPACE, frame[: subset.LIMIT]) == 8
    assert kept(SPACE, frame) == 8


def test_a_short_history_is_treated_as_if_there_were_no_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Benchmarks that were run before there were any rest on it.
    space, frame = with_metrics(SPACE, hill_frame(SPACE, [0, 1, 2, 0] * 45), {"a": 1.0, "b": -0.5})
    policy = make_policy("admire", SEARCH)
    monkeypatch.setattr(fitting, "_LEAST_PROBABILITY", 0.0)  # as many draws as are ever kept
    first = propose(space, frame, policy, 0), recommend(space, frame, policy, 0)
    with patch.object(subset, "LIMIT", 10**6), patch.object(fitting, "_NUMBERS", 10**9):
        second = propose(space, frame, policy, 0), recommend(space, frame, policy, 0)
    assert first[0].mixture.tobytes() == second[0].mixture.tobytes()
    assert first[0].acquisition_value == second[0].acquisition_value
    assert first[0].fidelity == second[0].fidelity
    assert first[1] is not None and second[1] is not None
    assert first[1].mixture.tobytes() == second[1].mixture.tobytes()
    assert first[1].score_mean == second[1].score_mean
