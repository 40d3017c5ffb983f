"""Simulators: drawn functions agree with the table, their noise and maximum are as said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.replay.draw import Draw
from admire_pipeline.replay.emulator import MetricModel, fit_metric
from admire_pipeline.replay.simulator import SimulatorProblem
from admire_pipeline.replay.synthetic import made_up_table
from admire_pipeline.replay.table import RunTable

SPACE = MixtureSpace(tuple("abcd"))


@pytest.fixture(scope="module")
def table() -> RunTable:
    return made_up_table(
        "transfer", domains=4, costs=(0.1, 0.3, 1.0), metrics=2, runs=(120, 80, 60)
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def problem(table: RunTable, cache: Path) -> SimulatorProblem:
    return SimulatorProblem(table, "average", 0, cache)


def correlations(model: MetricModel) -> np.ndarray:
    covariance = np.array(model.coregion)
    spread = np.sqrt(np.diag(covariance))
    return covariance / np.outer(spread, spread)


def test_the_fit_finds_the_noise_and_that_sizes_agree(table: RunTable) -> None:
    model = fit_metric(table, "metric-1")
    assert correlations(model)[-1, :-1].min() > 0.9
    noise = np.array(model.scale) * np.sqrt(model.noise)
    # 0.3, 0.3 and 0.1 were put in; a metric's spread is 1.
    np.testing.assert_allclose(noise, [0.3, 0.3, 0.1], rtol=0.4)


def test_the_fit_finds_that_sizes_disagree() -> None:
    reverse = made_up_table("reversed", domains=4, runs=(120, 100, 80), metrics=1)
    assert correlations(fit_metric(reverse, "metric-1"))[-1, :-1].max() < -0.8


def test_draws_pass_near_the_runs_and_differ_away_from_them(table: RunTable) -> None:
    models = [fit_metric(table, metric) for metric in table.metrics]
    draws = [Draw(table, table.metrics, models, seed) for seed in range(6)]
    for position, spread in ((0, 0.3), (2, 0.1)):
        known = torch.from_numpy(table.mixtures(position))
        values = np.array([draw(known, position).numpy() for draw in draws])
        away = np.abs(values - table.values(position))
        # A posterior draw at a run is off by the noise at most, of which much is averaged out.
        assert np.sqrt(np.mean(away**2)) < 1.3 * spread
    corners = torch.eye(4, dtype=torch.float64)
    apart = np.std([draw(corners, 2).numpy() for draw in draws], axis=0).mean()
    inside = np.std([draw(known, 2).numpy() for draw in draws], axis=0).mean()
    assert apart > 1.5 * inside > 0


def test_prior_draws_have_the_covariance_of_the_model() -> None:
    # With a noise of 1e6 the runs tell nothing: what is drawn is the prior, without the level.
    coregion = [[1.0, 0.6], [0.6, 2.0]]
    model = MetricModel(2.0, 1.5, 0.5, coregion, [1e6, 1e6], [0.0, 0.0], [1.0, 1.0])
    table = made_up_table("noise", domains=3, costs=(0.1, 1), metrics=1, runs=(3, 3))
    pair = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]], dtype=torch.float64)
    draws = [Draw(table, table.metrics, [model], seed) for seed in range(1500)]
    # The difference of two mixtures, at both sizes: levels cancel.
    steps = np.array(
        [[float((d(pair, m)[0] - d(pair, m)[1]).item()) for m in range(2)] for d in draws]
    )
    roots = np.sqrt(pair.numpy() + 1e-4)
    distance = 5**0.5 * np.linalg.norm(roots[0] - roots[1]) / 0.5
    matern = (1 + distance + distance**2 / 3) * np.exp(-distance)
    expected = 2.0 * np.sum((roots[0] - roots[1]) ** 2) + 1.5 * 2 * (1 - matern)
    np.testing.assert_allclose(np.cov(steps.T), expected * np.array(coregion), rtol=0.15)


def test_no_mixture_beats_the_maximum(problem: SimulatorProblem) -> None:
    rng = np.random.default_rng(5)
    # Some on the faces: there the square root is steepest, and maxima are common.
    on_faces = rng.dirichlet(np.ones(4), 8000) * (rng.random((8000, 4)) < 0.6)
    on_faces = on_faces[on_faces.sum(axis=1) > 0]
    on_faces /= on_faces.sum(axis=1, keepdims=True)
    scores = problem._scores(np.vstack([SPACE.sample(4000, rng), on_faces]))
    assert problem.best >= scores.max()
    # Thousands of tries in four domains come near it.
    assert problem.best - scores.max() < 0.05 * (problem.best - problem.typical)


def test_regret_is_one_for_the_average_mixture_of_the_table(
    problem: SimulatorProblem, table: RunTable
) -> None:
    regrets = [problem.regret(mixture) for mixture in table.mixtures("size-3")]
    assert np.mean(regrets) == pytest.approx(1)
    assert min(regrets) > -1e-9


def test_runs_scatter_about_the_truth_by_the_noise(problem: SimulatorProblem) -> None:
    mixture = np.array([0.4, 0.3, 0.2, 0.1])
    scores = [problem.evaluate(mixture, 2, np.random.default_rng(i)).score for i in range(400)]
    assert np.mean(scores) == pytest.approx(problem.truth(mixture), abs=0.02)
    # Two metrics of noise 0.1, averaged.
    assert np.std(scores) == pytest.approx(0.1 / 2**0.5, rel=0.4)


def test_a_run_has_each_metric(problem: SimulatorProblem) -> None:
    run = problem.evaluate(np.full(4, 0.25), 0, np.random.default_rng(0))
    assert run.metrics.shape == (2,)
    assert run.score == pytest.approx(run.metrics.mean())
    assert problem.space.pools == ()


def test_a_seed_is_one_function_also_from_the_cache(
    problem: SimulatorProblem, table: RunTable, cache: Path, tmp_path: Path
) -> None:
    mixture = np.array([0.1, 0.2, 0.3, 0.4])
    for folder in (cache, tmp_path):
        again = SimulatorProblem(table, "average", 0, folder)
        assert again.truth(mixture) == problem.truth(mixture)
        assert again.best == pytest.approx(problem.best, rel=1e-9)
    assert SimulatorProblem(table, "average", 1, cache).truth(mixture) != problem.truth(mixture)


def test_losses_are_minimised(table: RunTable, cache: Path) -> None:
    losses = RunTable.from_frame("losses", table.frame, "minimize")
    problem = SimulatorProblem(losses, "metric-1", 0, cache)
    mixture = np.full(4, 0.25)
    run = problem.evaluate(mixture, 2, np.random.default_rng(0))
    assert run.score == -run.metrics[0]
    assert problem.regret(mixture) >= 0


def test_an_unknown_objective_is_one_line(table: RunTable, cache: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'average'"):
        SimulatorProblem(table, "averages", 0, cache)


@pytest.mark.parametrize("value", [0.0, 1e6, 1e-6])
def test_a_constant_metric_is_no_trouble(table: RunTable, cache: Path, value: float) -> None:
    frame = table.frame.assign(**{"metric.metric-1": value})
    constant = RunTable.from_frame("constant", frame, "maximize")
    problem = SimulatorProblem(constant, "metric-1", 0, cache)
    assert np.isfinite(problem.regret(np.full(4, 0.25)))


def test_missing_metrics_are_left_out(table: RunTable, cache: Path) -> None:
    frame = table.frame.copy()
    frame.loc[frame["fidelity"] == "size-1", "metric.metric-1"] = np.nan
    partly = RunTable.from_frame("partly", frame, "maximize")
    problem = SimulatorProblem(partly, "metric-1", 0, cache)
    run = problem.evaluate(np.full(4, 0.25), 0, np.random.default_rng(0))
    assert np.isfinite(run.score)


def test_a_broken_file_is_made_anew(
    table: RunTable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = SimulatorProblem(table, table.metrics[0], 0, tmp_path)
    for path in (files := list(tmp_path.glob("*.json"))):
        path.write_text("{")
    again = SimulatorProblem(table, table.metrics[0], 0, tmp_path)
    assert (one.best, one.typical) == (again.best, again.typical)
    assert len(files) == 2 == caplog.text.count("cannot be read; it is made anew")
