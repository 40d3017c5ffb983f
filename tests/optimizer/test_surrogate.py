from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_t

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Space, Trials, evidence, fitting
from admire_pipeline.optimizer.covariance import covariance
from admire_pipeline.optimizer.embedding import Embedding
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.hyperparameters import draw_hyperparameters
from admire_pipeline.optimizer.standardise import standardise
from admire_pipeline.optimizer.surrogate import CHUNK, Surrogate
from tests.optimizer.tables import (
    hill,
    hill_frame,
    make_frame,
    make_pools,
    make_space,
    with_metrics,
)

SETTINGS = SurrogateSettings()
OBJECTIVE = {"a": 1.0, "b": -0.5, "c": 2.0}

# What the model is made of, as its documentation has it, written down once more.
LEVEL, JITTER, FREEDOM, DRAWS = 100.0, 1e-6, 6.0, 128


def fitted(space: Space, frame: pd.DataFrame, settings: SurrogateSettings = SETTINGS) -> Surrogate:
    trials = Trials.from_frame(space, frame)
    return fit(space, trials.where(trials.observed), settings)


def kernel(draw: int, x: np.ndarray, m: np.ndarray, z: np.ndarray, o: np.ndarray, count: int):
    drawn = draw_hyperparameters(DRAWS, count, guard=False)
    linear, length = drawn.linear[draw].item(), drawn.lengthscale[draw].item()
    coregion = drawn.coregion[draw].numpy()
    out = np.empty((len(x), len(z)))
    for i in range(len(x)):
        for j in range(len(z)):
            r = math.sqrt(5) * float(np.linalg.norm(x[i] - z[j])) / length
            matern = (1 + r + r * r / 3) * math.exp(-r)
            shared = linear * float(x[i] @ z[j]) + (1 - linear) * matern
            out[i, j] = shared * coregion[m[i], o[j]] + LEVEL * (m[i] == o[j])
    return out


def brute_force(
    space: Space, frame: pd.DataFrame, test: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the score of test points: a dense GP for each draw and metric."""
    seen = Trials.from_frame(space, frame)
    embed = Embedding.of(space, roots=True)
    inputs, at = embed(torch.from_numpy(seen.mixtures)).numpy(), embed(torch.from_numpy(test))
    count = len(space.fidelities)
    drawn = draw_hyperparameters(DRAWS, count, guard=False)
    mean, total = np.zeros(len(test)), np.zeros((len(test), len(test)))
    for column, weight in enumerate(space.objective.values()):
        rows = np.isfinite(seen.metrics[:, column])
        x, m, raw = inputs[rows], seen.fidelities[rows], seen.metrics[rows, column]
        location, scale = standardise(raw, m, count)
        y = (raw - location[m]) / scale[m]
        likelihoods, means, covariances = [], [], []
        for draw in range(DRAWS):
            noise = drawn.noise[draw].numpy()[m] + JITTER
            inner = kernel(draw, x, m, x, m, count) + np.diag(noise)
            cross = kernel(draw, x, m, at.numpy(), sizes, count)
            prior = kernel(draw, at.numpy(), sizes, at.numpy(), sizes, count)
            likelihoods.append(multivariate_t.logpdf(y, shape=inner, df=FREEDOM))
            gain = np.linalg.solve(inner, cross).T
            means.append(gain @ y)
            variance = (FREEDOM + y @ np.linalg.solve(inner, y)) / (FREEDOM + len(y) - 2)
            covariances.append(variance * (prior - gain @ cross))
        probability = np.exp(np.array(likelihoods) - max(likelihoods))
        probability /= probability.sum()
        average = probability @ np.array(means)
        unit = weight * scale[-1]
        mean += weight * location[-1] + unit * average
        within = np.einsum("s,sij->ij", probability, np.array(covariances))
        away = np.array(means) - average
        total += unit**2 * (within + np.einsum("s,si,sj->ij", probability, away, away))
    return mean, total


@pytest.mark.parametrize("lacking", [False, True])
def test_the_posterior_is_the_average_over_dense_gps(
    lacking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_KEPT", DRAWS)
    monkeypatch.setattr(fitting, "_LEAST_PROBABILITY", 0.0)
    # Plain draws from the prior, none of them crossed.
    monkeypatch.setattr(fitting, "_BASES", DRAWS)
    monkeypatch.setattr(fitting, "cross", lambda bases, _: bases)
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    if lacking:
        # Two metrics are known of some trials each: together they tell apart three sets of trials.
        frame.loc[[0, 3, 7], "metric.a"] = np.nan
        frame.loc[[1, 3], "metric.b"] = np.nan
    model = fitted(space, frame)
    assert len(model.draws) == DRAWS
    assert len(model.parts) == (3 if lacking else 1)
    test = space.mixtures.spread(6, np.random.default_rng(1))
    sizes = np.array([0, 0, 0, 1, 1, 1])
    mean, total = brute_force(space, frame, test, sizes)
    points = torch.from_numpy(test)
    small, target = model.moments(points[:3], 0), model.moments(points[3:], 1)
    np.testing.assert_allclose(target.mean, mean[3:], rtol=1e-7)
    np.testing.assert_allclose(model.mean(points[3:], 1), mean[3:], rtol=1e-7)
    for left, rows in ((small, slice(0, 3)), (target, slice(3, 6))):
        np.testing.assert_allclose(model.variance(left), np.diag(total)[rows], rtol=1e-6)
        for right, columns in ((small, slice(0, 3)), (target, slice(3, 6))):
            np.testing.assert_allclose(
                model.covariance(left, right), total[rows, columns], rtol=1e-6, atol=1e-8
            )
    predicted, deviation = model.predict(test[3:])
    np.testing.assert_allclose(predicted, mean[3:], rtol=1e-7)
    np.testing.assert_allclose(deviation**2, np.diag(total)[3:], rtol=1e-6)


def two_sizes() -> tuple[Space, pd.DataFrame]:
    space = make_space(3, (0.1, 1.0))
    return space, hill_frame(space, [0] * 6 + [1] * 4).assign(score_se=np.nan)


def test_draws_that_explain_nothing_are_left_out_at_little_loss() -> None:
    space, frame = with_metrics(
        make_space(4), hill_frame(make_space(4), [0] * 30 + [2] * 10), OBJECTIVE
    )
    model = fitted(space, frame)
    assert 1 <= len(model.draws) <= 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_KEPT", DRAWS)
        patch.setattr(fitting, "_LEAST_PROBABILITY", 0.0)
        full = fitted(space, frame)
    test = space.mixtures.sample(20, np.random.default_rng(0))
    for few, all_of_them in zip(model.predict(test), full.predict(test), strict=True):
        np.testing.assert_allclose(few, all_of_them, atol=0.15 * full.predict(test)[1].max())


def test_many_are_predicted_as_each_alone() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    model = fitted(space, frame)
    points = space.mixtures.spread(2 * CHUNK + 1, np.random.default_rng(1))
    alone = [model.predict(point[None]) for point in points]
    for many, each in zip(model.predict(points), zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(many, np.concatenate(each), rtol=1e-9)
    assert [len(part) for part in model.predict(points[:0])] == [0, 0]


def test_draws_are_weighed_alike_however_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    points = space.mixtures.spread(5, np.random.default_rng(1))
    found = fitted(space, frame).predict(points)
    for numbers in (1, 2**20):  # one draw, all draws
        monkeypatch.setattr(evidence, "_CACHED", numbers)
        for one, other in zip(fitted(space, frame).predict(points), found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


def test_covariances_by_draw_make_up_the_mean_of_covariances() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    # One draw: there is nothing between draws to leave out.
    model = fitted(space, frame, replace(SETTINGS, averaged=False))
    points = torch.from_numpy(space.mixtures.spread(5, np.random.default_rng(1)))
    left, right = model.moments(points, 0), model.moments(points, 1)
    best = int(model.weight.argmax())
    assert model.weight[best] == pytest.approx(1)
    torch.testing.assert_close(
        model.covariance_by_draw(left, right)[best], model.covariance(left, right)
    )
    assert model.noise_by_draw(1)[best] == pytest.approx(model.noise(1))


def test_roots_and_weights_as_inputs() -> None:
    space = make_space(4)
    corner = torch.eye(4, dtype=torch.float64)[:1]
    for roots in (True, False):
        embed = Embedding.of(space, roots)
        points = embed(torch.from_numpy(space.mixtures.sample(4000, np.random.default_rng(1))))
        assert points.square().sum(dim=1).mean() == pytest.approx(1, abs=0.1)
        assert points.mean(dim=0).abs().max() < 0.1
        raw = corner.sqrt() if roots else corner
        np.testing.assert_allclose(embed(corner), (raw - embed.centre) / embed.unit, atol=0.03)


def test_the_embedding_of_a_pool_takes_its_measure() -> None:
    space = make_pools(make_space(4), (30, 20, 12))
    points = Embedding.of(space, roots=True)(torch.from_numpy(space.pools[-1]))
    np.testing.assert_allclose(points.mean(dim=0), np.zeros(4), atol=1e-12)
    assert points.square().sum(dim=1).mean() == pytest.approx(1)


def test_roots_have_finite_slopes_at_zero_weights() -> None:
    corner = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    Embedding.of(make_space(3), roots=True)(corner).sum().backward()
    assert torch.isfinite(corner.grad).all()


@pytest.mark.parametrize("averaged", [True, False])
def test_believing_keeps_predictions_and_is_a_refit_with_these_values(averaged: bool) -> None:
    space = make_space(3)
    frame = hill_frame(space, [0] * 5 + [2] * 6, pending=[4, 9, 10]).assign(score_se=np.nan)
    trials = Trials.from_frame(space, frame)
    settings = replace(SETTINGS, averaged=averaged)
    model = fit(space, trials.where(trials.observed), settings)
    pending = trials.where(trials.pending)
    believing = model.believe(pending)
    test = space.mixtures.sample(30, np.random.default_rng(1))
    before, uncertain = model.predict(test)
    after, certain = believing.predict(test)
    np.testing.assert_allclose(after, before, atol=1e-10)
    assert (certain <= uncertain + 1e-12).all()
    there = model.predict(pending.mixtures)[1]
    # Only a trial's noise is left of what is not known about it.
    assert (believing.predict(pending.mixtures)[1][1:] < 0.9 * there[1:]).all()
    # From scratch: the factor of all trials' covariances at once.
    part = believing.parts[0]
    noise = model.draws.noise[:, part.fidelities] + JITTER
    assert len(part.inputs) == len(trials)
    whole = covariance(model.draws, part.inputs, part.fidelities, part.inputs, part.fidelities)
    torch.testing.assert_close(part.root, torch.linalg.cholesky(whole + torch.diag_embed(noise)))
    assert model.believe(trials.where(np.zeros(11, dtype=bool))) is model


@pytest.mark.parametrize("lacking", [False, True])
def test_the_metrics_predicted_make_up_the_score_predicted(lacking: bool) -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    if lacking:
        frame.loc[[0, 3, 7], f"metric.{next(iter(OBJECTIVE))}"] = np.nan
    model = fitted(space, frame)
    (mixture,) = space.mixtures.sample(1, np.random.default_rng(0))
    metrics = model.predict_metrics(mixture)
    assert metrics.keys() == OBJECTIVE.keys()
    mean = sum(weight * metrics[name][0] for name, weight in OBJECTIVE.items())
    assert mean == pytest.approx(model.predict(mixture[None])[0][0], rel=1e-9)
    assert all(deviation > 0 for _, deviation in metrics.values())


def test_of_one_metric_its_prediction_is_that_of_the_score() -> None:
    space, frame = with_metrics(*two_sizes(), {"a": -2.0})
    model = fitted(space, frame)
    (mixture,) = space.mixtures.sample(1, np.random.default_rng(0))
    mean, deviation = model.predict(mixture[None])
    assert model.predict_metrics(mixture)["a"] == pytest.approx((-mean[0] / 2, deviation[0] / 2))
    assert fitted(*two_sizes()).predict_metrics(mixture) == {}


def test_metrics_apart_are_more_than_the_score_alone() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    assert fitted(space, frame).parts[0].weights.shape == (3,)
    together = fitted(space, frame, replace(SETTINGS, per_metric=False))
    assert together.parts[0].weights.shape == (1,)
    alone = fitted(*two_sizes())
    test = space.mixtures.sample(5, np.random.default_rng(0))
    np.testing.assert_array_equal(together.predict(test), alone.predict(test))


def test_a_trial_without_any_metric_leaves_the_score() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    frame.loc[2, [f"metric.{name}" for name in OBJECTIVE]] = np.nan
    test = space.mixtures.sample(5, np.random.default_rng(0))
    np.testing.assert_array_equal(
        fitted(space, frame).predict(test), fitted(*two_sizes()).predict(test)
    )


def test_metrics_of_no_weight_or_that_no_trial_has_are_left_out() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    more = replace(space, objective={"idle": 0.0, "unseen": 1.0, **OBJECTIVE})
    frame["metric.idle"] = 1e9
    test = space.mixtures.sample(5, np.random.default_rng(0))
    np.testing.assert_array_equal(
        fitted(more, frame).predict(test), fitted(space, frame).predict(test)
    )


def test_one_noise_and_one_draw() -> None:
    space, frame = two_sizes()
    assert fitted(space, frame, replace(SETTINGS, noise_per_fidelity=False)).noise(0) == (
        pytest.approx(fitted(space, frame, replace(SETTINGS, noise_per_fidelity=False)).noise(1))
    )
    assert len(fitted(space, frame, replace(SETTINGS, averaged=False)).draws) == 1


def test_crossing_and_the_guard_can_be_taken_back() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    mixtures = space.mixtures.spread(5, np.random.default_rng(0))
    choices = [
        {},
        {"crossed": False},
        # Without crossing the guard is among the draws that are weighed.
        {"crossed": False, "guard": False},
    ]
    predicted = [
        fitted(space, frame, SurrogateSettings(**choice)).predict(mixtures)[0] for choice in choices
    ]
    for one, other in combinations(predicted, 2):
        assert np.abs(one - other).max() > 1e-6 * np.abs(one).max()


def test_known_errors_of_evaluations_count() -> None:
    space, frame = two_sizes()
    frame["score_se"] = [np.nan] * 9 + [0.5]
    test = Trials.from_frame(space, frame).mixtures[-1:]
    sure, unsure = fitted(*two_sizes()), fitted(space, frame)
    assert unsure.predict(test)[1] > 1.2 * sure.predict(test)[1]
    frame["score_se"] = 1e9
    assert np.isfinite(fitted(space, frame).predict(test)).all()


@pytest.mark.parametrize(("scale", "shift"), [(1e6, 0.0), (1e-6, 0.0), (1e-6, -5e-5), (3.0, 1e3)])
def test_predictions_follow_the_units_of_the_score(scale: float, shift: float) -> None:
    space, frame = two_sizes()
    test = space.mixtures.sample(5, np.random.default_rng(0))
    mean, deviation = fitted(space, frame).predict(test)
    frame["score"] = scale * frame["score"] + shift
    frame["score_se"] *= scale
    other, other_deviation = fitted(space, frame).predict(test)
    np.testing.assert_allclose((other - shift) / scale, mean, atol=1e-8)
    np.testing.assert_allclose(other_deviation / scale, deviation, rtol=1e-6)


def test_errors_of_metrics_count_before_those_of_the_score() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    test = space.mixtures.sample(5, np.random.default_rng(0))
    of_score = fitted(space, frame.assign(score_se=0.3)).predict(test)
    exact = fitted(space, frame).predict(test)
    errors = {f"metric_se.{name}": 0.0 for name in OBJECTIVE}
    known = fitted(space, frame.assign(score_se=0.3, **errors))
    # The score's error is that of future trials all the same.
    assert known.noise(1) == pytest.approx(fitted(space, frame).noise(1) + 0.09)
    np.testing.assert_allclose(known.predict(test), exact)
    assert np.abs(np.array(of_score) - exact).max() > 1e-3
    errors = {f"metric_se.{name}": 1e6 for name in OBJECTIVE}
    vague = fitted(space, frame.assign(**errors)).predict(test)[1]
    assert (vague > exact[1]).all()


def test_the_score_error_is_shared_by_metrics_that_different_trials_have() -> None:
    """Two metrics alike, of all trials or one lacking another: the noise is nearly the same."""
    space, frame = with_metrics(*two_sizes(), {"a": 1.0, "b": 1.0})
    frame["metric.b"] = frame["metric.a"]
    frame["score_se"] = 1.0
    whole = fitted(space, frame)
    frame.loc[0, "metric.b"] = np.nan
    apart = fitted(space, frame)
    assert (len(whole.parts), len(apart.parts)) == (1, 2)
    test = space.mixtures.sample(20, np.random.default_rng(0))
    ratio = apart.predict(test)[1] / whole.predict(test)[1]
    assert np.median(ratio) == pytest.approx(1, abs=0.15)


def test_future_trials_have_the_errors_of_past_ones() -> None:
    space, frame = two_sizes()
    quiet = fitted(space, frame.assign(score_se=np.nan)).noise(0)
    frame["score_se"] = [0.5] * 6 + [np.nan] * 4
    model = fitted(space, frame)
    assert model.evaluation.tolist() == [0.25, 0.25], "of sizes without, those of the others"
    assert model.noise(0) > 0.25 and quiet < 0.25
    assert (model.noise_by_draw(0) > 0.25).all()


def correlation(model: Surrogate) -> np.ndarray:
    """Posterior mean correlation of each size with the target."""
    coregion = model.draws.coregion
    spread = coregion.diagonal(dim1=1, dim2=2).sqrt()
    each = coregion[:, -1] / spread / spread[:, -1:]
    return (model.parts[0].probability[:, 0] @ each).numpy()


def small_sizes(kind: str, seed: int, noise: float) -> tuple[Space, pd.DataFrame]:
    """24 trials of a small size and 12 of the target, with noise in units of the scores' spread."""
    space = make_space(3, (0.1, 1.0))
    rng = np.random.default_rng(seed)
    mixtures = space.mixtures.spread(36, rng)
    scores = hill(mixtures)
    spread = scores.std()
    small = scores[:24]
    scores[:24] = {
        "like it": 2 * small - 5,
        "reversed": -small,
        "noise": rng.normal(size=24),
        "another function": np.sin(9 * mixtures[:24, 1]),
    }[kind]
    scores += noise * spread * rng.normal(size=36)
    frame = make_frame(space, mixtures, [0] * 24 + [1] * 12, scores.tolist())
    return space, frame.assign(score_se=np.nan)


@pytest.mark.parametrize("noise", [0.3, 0.01])
@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("like it", 0.5, 1.01),
        # A size that is reversed is not taken for one that informs ...
        ("reversed", -1.01, 0.1),
        # ... but neither for what it is.
        pytest.param(
            "reversed",
            -1.01,
            -0.25,
            marks=pytest.mark.xfail(
                reason="few trials of the target leave a reversed size for one that tells little: "
                "few of the draws are as negative as it is, with the guard or without"
            ),
        ),
    ],
)
def test_correlation_with_the_target_is_learned(
    kind: str, low: float, high: float, noise: float
) -> None:
    for seed in range(3):
        assert low < correlation(fitted(*small_sizes(kind, seed, noise)))[0] < high


@pytest.mark.parametrize(
    ("kind", "noise"),
    [
        ("noise", 0.3),
        ("reversed", 0.3),
        ("reversed", 0.01),
        ("another function", 0.3),
    ],
)
def test_a_useless_size_does_little_harm(kind: str, noise: float) -> None:
    found = []
    for seed in range(5):
        space, frame = small_sizes(kind, seed, noise)
        seen = Trials.from_frame(space, frame)
        test = space.mixtures.sample(200, np.random.default_rng(seed))
        found.append(
            [
                np.corrcoef(fit(space, trials, SETTINGS).predict(test)[0], hill(test))[0, 1]
                for trials in (seen, seen.where(seen.fidelities == 1))
            ]
        )
    both, alone = np.mean(found, axis=0)
    assert both > alone - 0.02


def test_cheap_trials_teach_the_target() -> None:
    space = make_space(4)
    seen = Trials.from_frame(space, hill_frame(space, [0] * 30 + [2] * 4))
    test = space.mixtures.sample(200, np.random.default_rng(9))
    mean, deviation = fit(space, seen, SETTINGS).predict(test)
    alone, _ = fit(space, seen.where(seen.fidelities == 2), SETTINGS).predict(test)
    truth = hill(test)
    assert np.corrcoef(mean, truth)[0, 1] > max(0.85, np.corrcoef(alone, truth)[0, 1] + 0.03)
    # Of 200 standardised errors, a calibrated model leaves about 0.3 % beyond 3.
    assert np.mean(np.abs(mean - truth) < 3 * deviation) > 0.9


def test_before_the_first_target_trial_its_level_is_uncertain() -> None:
    space = make_space(3)
    frame = hill_frame(space, [0] * 6 + [2])
    uniform = space.mixtures.uniform()[None]
    before, unsure = fitted(space, frame[:6]).predict(uniform)
    after, sure = fitted(space, frame).predict(uniform)
    # Of `hill_frame`: each size is lower by one than the next.
    assert abs(before[0] + 2) < 0.3 and abs(after[0]) < 0.3
    assert unsure[0] > 2 * sure[0]


def test_many_trials_are_weighed_by_some_and_conditioned_on_by_all() -> None:
    space = make_space(4)
    frame = hill_frame(space, [0] * 240 + [2] * 20)
    model = fitted(space, frame)
    assert model.parts[0].root.shape[1] == 260
    test = space.mixtures.sample(200, np.random.default_rng(9))
    assert np.corrcoef(model.predict(test)[0], hill(test))[0, 1] > 0.97


def test_trials_far_beyond_the_space() -> None:
    """Bounds set later leave a space in which the trials so far are a thousand units away."""
    free = make_space(3)
    centre = np.array([0.5, 0.3, 0.2])
    bounds = dict(
        zip(free.mixtures.domains, zip(centre - 1e-4, centre + 1e-4, strict=True), strict=True)
    )
    space = Space(MixtureSpace.from_bounds(free.mixtures.domains, bounds), free.fidelities)
    model = fitted(space, hill_frame(free, [0] * 5 + [2] * 5))
    assert np.isfinite(model.predict(space.mixtures.sample(5, np.random.default_rng(0)))).all()


def test_of_all_draws_the_likeliest_are_the_surrogate_itself() -> None:
    space, frame = with_metrics(*two_sizes(), OBJECTIVE)
    model = fitted(space, frame)
    test = space.mixtures.spread(6, np.random.default_rng(1))
    same = model.likeliest(len(model.draws))
    for found, expected in zip(same.predict(test), model.predict(test), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    few = model.likeliest(3)
    assert len(few.draws) == 3
    assert few.weight.max() >= model.weight.max()
    assert np.isfinite(few.predict(test)).all()


@given(
    metrics=st.integers(1, 8),
    trials=st.integers(1, 30),
    seed=st.integers(0, 99),
    gaps=st.floats(0, 1),
)
@settings(max_examples=50, deadline=None)
def test_metrics_that_different_trials_have_make_few_models(
    metrics: int, trials: int, seed: int, gaps: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(trials, metrics))
    values[np.random.default_rng([seed, 1]).random(values.shape) < gaps] = np.nan
    values[0] = 0.0  # each metric is known of some trial
    groups = fitting._patterns(values)
    assert sorted(np.concatenate([columns for _, columns in groups])) == list(range(metrics))
    left = sum(np.isfinite(values[np.ix_(rows, columns)]).sum() for rows, columns in groups)
    for rows, columns in groups:
        assert len(rows) and np.isfinite(values[np.ix_(rows, columns)]).all()
    patterns = np.unique(np.isfinite(values), axis=1).shape[1]
    assert len(groups) <= patterns
    if patterns <= 4:
        assert left == np.isfinite(values).sum()
    elif gaps < 0.1:
        assert len(groups) == 4


def test_metrics_of_which_no_trial_has_two_stay_apart() -> None:
    values = np.full((30, 6), np.nan)
    for column in range(6):
        values[5 * column : 5 * column + 5, column] = 1.0
    assert len(fitting._patterns(values)) == 6


def test_metrics_that_are_rare_keep_no_others_apart() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 12))
    values[:, :10][rng.random((300, 10)) < 0.1] = np.nan
    values[:290, 10] = values[10:, 11] = np.nan  # no trial has both
    assert len(fitting._patterns(values)) < 7
