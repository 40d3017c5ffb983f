from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.optimizer import Trials
from admire_pipeline.optimizer.trials import score_errors
from tests.optimizer.tables import hill_frame, make_space

SPACE = make_space()


def test_arrays_follow_the_table() -> None:
    frame = hill_frame(SPACE, [0, 2, 1], pending=[1])
    trials = Trials.from_frame(SPACE, frame.iloc[::-1])
    assert trials.names == ("t2", "t1", "t0")
    assert trials.fidelities.tolist() == [1, 2, 0]
    assert trials.observed.tolist() == [True, False, True]
    assert np.isnan(trials.scores[1])
    columns = ["mixture.d0", "mixture.d1", "mixture.d2"]
    np.testing.assert_array_equal(trials.mixtures[2], frame.loc[0, columns].astype(float))
    assert trials.where(trials.observed).names == ("t2", "t0")


def test_no_trials_need_no_columns() -> None:
    assert len(Trials.from_frame(SPACE, pd.DataFrame())) == 0


def test_standard_errors_are_optional() -> None:
    frame = hill_frame(SPACE, [0, 1]).drop(columns=["score_se", "cost"])
    assert np.isnan(Trials.from_frame(SPACE, frame).score_errors).all()


def test_a_pending_score_is_not_read() -> None:
    frame = hill_frame(SPACE, [0, 1], pending=[1])
    frame.loc[1, "score"] = 5.0
    assert np.isnan(Trials.from_frame(SPACE, frame).scores[1])


def test_holds_knows_pending_trials_and_their_size() -> None:
    frame = hill_frame(SPACE, [0, 1], pending=[1])
    trials = Trials.from_frame(SPACE, frame)
    moved = trials.mixtures[[1, 1]] + [[9e-4, 0, -9e-4], [1.1e-3, 0, -1.1e-3]]
    assert trials.holds(moved, 1).tolist() == [True, False]
    assert trials.holds(trials.mixtures, 0).tolist() == [True, False]
    assert trials.holds(trials.mixtures, 2).tolist() == [False, False]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("fidelity", "size9", "fidelity 'size9' .* did you mean 'size"),
        ("status", "obsrved", "status 'obsrved' .* did you mean 'observed'"),
        ("score", np.nan, "score of observed trial 't0'"),
        ("score", np.inf, "score of observed trial 't0'"),
        ("trial", "t1", "'t1' occurs twice"),
        ("mixture.d0", 3.0, "mixture of 't0'"),
        ("mixture.d0", np.nan, "mixture of 't0'"),
    ],
)
def test_bad_values(column: str, value: object, message: str) -> None:
    frame = hill_frame(SPACE, [0, 1])
    frame.loc[0, column] = value
    with pytest.raises(ValueError, match=message):
        Trials.from_frame(SPACE, frame)


@pytest.mark.parametrize("column", ["trial", "fidelity", "status", "score", "mixture.d2"])
def test_missing_columns(column: str) -> None:
    with pytest.raises(ValueError, match=f"column '{column}' is missing"):
        Trials.from_frame(SPACE, hill_frame(SPACE, [0, 1]).drop(columns=column))


def test_the_error_of_a_score_is_that_of_its_weighted_metrics() -> None:
    errors = np.array([[0.3, 0.4, np.nan], [0.0, np.nan, 1.0]])
    found = score_errors(errors, np.array([2.0, 2.0, 0.0]))
    np.testing.assert_allclose(found, [1.0, np.nan], rtol=1e-12)
