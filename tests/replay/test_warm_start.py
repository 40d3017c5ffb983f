from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Space, Trials
from admire_pipeline.replay.warm_start import tabulate_known_runs

SPACE = Space(
    mixtures=MixtureSpace(("web", "code")),
    fidelities=(Fidelity("tiny", 0.1), Fidelity("large", 1.0)),
    objective={"loss": -0.75, "qa": 0.25},
)


def runs() -> pd.DataFrame:
    """Costs equal, domains in another order, one metric more than the objective weighs."""
    return pd.DataFrame(
        {
            "fidelity": ["large", "tiny"],
            "cost": [7.0, 7.0],
            "mixture.code": [0.9, 0.5],
            "mixture.web": [0.1, 0.5],
            "metric.qa": [0.1, 0.2],
            "metric.loss": [1.0, 2.0],
            "metric.other": [np.nan, 1.0],
            "metric_se.loss": [0.4, 0.4],
            "metric_se.qa": [1.6, np.nan],
        }
    )


def test_runs_are_observed_trials_that_cost_nothing(tmp_path: Path) -> None:
    runs().to_csv(tmp_path / "runs.csv", index=False)
    table = tabulate_known_runs(tmp_path / "runs.csv", SPACE, "search.warm_start", {})
    assert table["trial"].tolist() == ["warm-0001", "warm-0002"]
    assert table["cost"].tolist() == [0.0, 0.0]
    trials = Trials.from_frame(SPACE, table)
    assert trials.observed.all() and trials.fidelities.tolist() == [1, 0]
    assert trials.mixtures.tolist() == [[0.1, 0.9], [0.5, 0.5]]
    assert trials.metrics.tolist() == [[1.0, 0.1], [2.0, 0.2]]
    np.testing.assert_allclose(trials.scores, [-0.725, -1.45])
    np.testing.assert_allclose(trials.score_errors, [0.5, np.nan])
    assert "metric.other" not in table


def test_a_metric_that_is_bounded_alone_may_be_missing(tmp_path: Path) -> None:
    """It has weight 0: the score is the same without it."""
    runs().to_csv(tmp_path / "runs.csv", index=False)
    bounded = {"other": 0.0, "absent": 0.0, **SPACE.objective}
    space = replace(SPACE, objective=bounded)
    table = tabulate_known_runs(tmp_path / "runs.csv", space, "search.warm_start", {})
    trials = Trials.from_frame(space, table)
    np.testing.assert_allclose(trials.scores, [-0.725, -1.45])
    np.testing.assert_allclose(trials.score_errors, [0.5, np.nan])
    np.testing.assert_allclose(
        trials.metrics, [[np.nan, np.nan, 1.0, 0.1], [1.0, np.nan, 2.0, 0.2]]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"mixture.code": "mixture.cod"}), "domain 'cod' is not in the"),
        (lambda f: f.assign(**{"mixture.new": 0.0}), "domain 'new' is not in the config"),
        (lambda f: f.replace({"fidelity": {"tiny": "tinny"}}), "'tinny' .* did you mean 'tiny'"),
        (
            lambda f: f.drop(columns=["metric.qa", "metric_se.qa"]),
            "has no column metric.qa, which the objective",
        ),
        (
            lambda f: f.drop(columns="metric.qa"),
            "metric_se.qa is of no metric; allowed: loss, other",
        ),
        (lambda f: f.assign(**{"metric.qa": [0.1, None]}), "metric.qa is empty in row 2"),
        (lambda f: f.assign(**{"metric_se.qa": -1.0}), "metric_se.qa is -1.0 in row 1; allowed: a"),
        (lambda f: f.assign(**{"metric.qa": [0.1, 10]}), "metric.qa is 10 in row 2; allowed: 0 to"),
        (
            lambda f: pd.concat([f, f, f.assign(**{"metric.loss": -1.0})]),
            "metric.loss is -1 in row 5; allowed: 0 to inf, as measured .a loss is not negated",
        ),
    ],
)
def test_another_campaigns_runs_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    change(runs()).to_csv(tmp_path / "runs.csv", index=False)
    ranges = {"qa": (0.0, 1.0), "loss": (0.0, math.inf)}
    with pytest.raises(UserError, match=message) as caught:
        tabulate_known_runs(tmp_path / "runs.csv", SPACE, "search.warm_start", ranges)
    assert str(caught.value).startswith("search.warm_start: ") and "\n" not in str(caught.value)


def test_a_domain_that_no_run_names(tmp_path: Path) -> None:
    three = Space(MixtureSpace(("web", "code", "books")), SPACE.fidelities, objective={"qa": 1.0})
    runs().to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(UserError, match="has no column mixture.books; allowed: the domains of"):
        tabulate_known_runs(tmp_path / "runs.parquet", three, "search.warm_start", {})


def test_copies_of_a_row_are_no_second_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A metric that the objective does not count tells two trainings apart, too.
    other = runs().assign(**{"metric.other": [0.3, 0.4]})
    twice = pd.concat([runs(), runs(), other])
    twice.reset_index(drop=True).to_parquet(tmp_path / "runs.parquet")
    with caplog.at_level("INFO"):
        table = tabulate_known_runs(tmp_path / "runs.parquet", SPACE, "search.warm_start", {})
    assert "2 rows are copies of others and left out" in caplog.text
    assert table["trial"].tolist() == ["warm-0001", "warm-0002", "warm-0005", "warm-0006"]


def test_trials_of_other_names_are_no_copies(tmp_path: Path) -> None:
    twice = pd.concat([runs(), runs()], ignore_index=True).assign(trial=["a", "b", "c", "b"])
    twice.to_csv(tmp_path / "runs.csv", index=False)
    assert len(tabulate_known_runs(tmp_path / "runs.csv", SPACE, "search.warm_start", {})) == 3
