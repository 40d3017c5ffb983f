from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from admire_pipeline.optimizer import Space, Trials
from admire_pipeline.optimizer.acquisition import CautiousMean, KnowledgeGradient, Options
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.surrogate import Surrogate
from tests.optimizer.tables import hill_frame, make_pools, make_space, with_metrics

SPACE, FRAME = with_metrics(
    make_space(3), hill_frame(make_space(3), [0] * 8 + [1] * 3 + [2] * 3), {"a": 1.0, "b": -2.0}
)
SEEN = Trials.from_frame(SPACE, FRAME)
SURROGATE = fit(SPACE, SEEN, SurrogateSettings())
POINTS = SPACE.mixtures.spread(40, np.random.default_rng(0))
TESTS = torch.from_numpy(SPACE.mixtures.spread(5, np.random.default_rng(1)))

# The maximum of straight lines has kinks: 129 nodes find its mean to about this.
QUADRATURE = 0.03


def gain(surrogate: Surrogate, fidelity: int, options: Options, mixtures: Tensor) -> np.ndarray:
    return KnowledgeGradient(surrogate, fidelity, options)(mixtures.unsqueeze(-2)).detach().numpy()


@pytest.mark.parametrize("caution", [0.0, 0.5])
def test_the_cautious_mean_is_that_of_predictions(caution: float) -> None:
    many = torch.from_numpy(SPACE.mixtures.sample(300, np.random.default_rng(2)))
    means, deviations = SURROGATE.predict(many.numpy())
    np.testing.assert_allclose(
        CautiousMean(SURROGATE, caution)(many.unsqueeze(-2)).detach(),
        means - caution * deviations,
        rtol=1e-9,
    )


@pytest.mark.parametrize("fidelity", [0, 1, 2])
def test_gain_equals_monte_carlo(fidelity: int) -> None:
    """Draw the scores of options and of the trial together, and regress on the trial."""
    options = Options.everywhere(SURROGATE, POINTS)
    rng = np.random.default_rng(0)
    for mixture in TESTS:
        trial = SURROGATE.moments(mixture[None], fidelity)
        noise = SURROGATE.noise(fidelity)
        variance = SURROGATE.covariance(trial, trial).item() + noise
        slope = SURROGATE.covariance(options.moments, trial)[:, 0].numpy() / variance
        scores = np.sqrt(variance) * rng.normal(size=40_000)
        best = (options.moments.mean.numpy() + np.outer(scores, slope)).max(axis=1)
        gains = best - options.moments.mean.max().item()
        error = gains.std() / 200
        assert gain(SURROGATE, fidelity, options, mixture[None])[0] == pytest.approx(
            gains.mean(), rel=QUADRATURE, abs=5 * error + 1e-6
        )


@pytest.mark.parametrize("fidelity", [0, 2])
def test_gain_equals_that_of_the_model_after_the_trial(fidelity: int) -> None:
    """With one draw the next posterior is known exactly, for every outcome of the trial."""
    frame = FRAME.drop(columns=["metric.a", "metric.b"])
    space = replace(SPACE, objective={})
    one = replace(SurrogateSettings(), averaged=False)
    surrogate = fit(space, Trials.from_frame(space, frame), one)
    options = Options.everywhere(surrogate, POINTS)
    pending = hill_frame(space, [fidelity], seed=5, pending=[0])
    trial = Trials.from_frame(space, pending)
    believing = surrogate.believe(trial)
    part = believing.parts[0]
    outcomes = (np.arange(2000) + 0.5) / 2000
    means = []
    for outcome in norm.ppf(outcomes):
        white = part.white.clone()
        white[:, -1] = outcome * part.variance.sqrt()
        then = replace(believing, parts=(replace(part, white=white),))
        means.append(then.mean(torch.from_numpy(POINTS), 2).max().item())
    expected = np.mean(means) - options.values.max().item()
    found = gain(surrogate, fidelity, options, torch.from_numpy(trial.mixtures))[0]
    assert found == pytest.approx(expected, rel=QUADRATURE)


def slope_by_differences(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    step = 1e-6
    moves = step * torch.eye(at.shape[-1], dtype=at.dtype)
    return torch.stack([(f(at + m) - f(at - m)).detach().squeeze() / (2 * step) for m in moves])


@pytest.mark.parametrize(
    "function",
    [
        CautiousMean(SURROGATE, 0.0),
        CautiousMean(SURROGATE, 0.5),
        *(
            KnowledgeGradient(SURROGATE, fidelity, Options.everywhere(SURROGATE, POINTS))
            for fidelity in (0, 2)
        ),
    ],
    ids=["mean", "cautious mean", "gain at 0", "gain at 2"],
)
def test_slopes_equal_finite_differences(function: Callable[[Tensor], Tensor]) -> None:
    for mixture in TESTS:
        at = mixture[None, None].clone().requires_grad_()
        function(at).sum().backward()
        expected = slope_by_differences(function, mixture[None, None])
        torch.testing.assert_close(at.grad.squeeze(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("fidelity", [0, 1, 2])
def test_gain_has_finite_slopes_at_corners_and_on_trials(fidelity: int) -> None:
    awkward = np.vstack([np.eye(3), SEEN.mixtures[:2], POINTS[:1]])
    at = torch.from_numpy(awkward).unsqueeze(-2).requires_grad_()
    options = Options.everywhere(SURROGATE, POINTS)
    KnowledgeGradient(SURROGATE, fidelity, options)(at).sum().backward()
    assert torch.isfinite(at.grad).all()


def test_at_equal_cost_the_target_says_most() -> None:
    options = Options.everywhere(SURROGATE, POINTS)
    many = torch.from_numpy(SPACE.mixtures.sample(100, np.random.default_rng(1)))
    values = [gain(SURROGATE, m, options, many) for m in range(3)]
    assert (np.concatenate(values) >= 0).all()
    assert values[2].max() > max(values[0].max(), values[1].max())


def test_pending_trials_have_little_more_to_tell() -> None:
    pending = Trials.from_frame(SPACE, hill_frame(SPACE, [2] * 3, seed=7, pending=[0, 1, 2]))
    options = Options.everywhere(SURROGATE, POINTS)
    believing = SURROGATE.believe(pending)
    there = torch.from_numpy(pending.mixtures)
    before = gain(SURROGATE, 2, options, there)
    after = gain(believing, 2, Options.everywhere(believing, POINTS), there)
    assert after.max() < 0.5 * before.max()


def pool_case() -> tuple[Space, Surrogate, np.ndarray]:
    space = make_pools(SPACE, (20, 15, 10))
    scores = np.full(10, np.nan)
    return space, fit(space, SEEN, SurrogateSettings()), scores


def test_in_a_pool_a_score_that_is_known_is_what_counts() -> None:
    space, surrogate, scores = pool_case()
    pool = space.pools[-1]
    free = Options.of_pool(surrogate, pool, scores)
    np.testing.assert_allclose(free.values, surrogate.predict(pool)[0])
    assert free.open.tolist() == [1] * 10
    scores[3] = 99.0
    known = Options.of_pool(surrogate, pool, scores)
    assert known.values[3] == 99 and known.open.tolist() == [1] * 3 + [0] + [1] * 6
    # Nothing can beat it, so no trial brings anything.
    for fidelity in range(3):
        assert gain(surrogate, fidelity, known, torch.from_numpy(pool)).max() < 1e-6


def test_in_a_pool_a_trial_settles_the_value_noise_and_all() -> None:
    """Beside a known score, the gain of trying an option is its expected improvement."""
    space, surrogate, scores = pool_case()
    pool = space.pools[-1][:2]
    mean, deviation = surrogate.predict(pool)
    scores = np.array([mean[1] + 0.3 * deviation[1], np.nan])
    options = Options.of_pool(surrogate, pool, scores)
    spread = np.sqrt(deviation[1] ** 2 + surrogate.noise(2))
    z = (mean[1] - scores[0]) / spread
    expected = spread * (z * norm.cdf(z) + norm.pdf(z))
    found = gain(surrogate, 2, options, torch.from_numpy(pool[1:]))[0]
    assert found == pytest.approx(expected, rel=QUADRATURE)
    # At a smaller size the same mixture settles nothing.
    assert gain(surrogate, 1, options, torch.from_numpy(pool[1:]))[0] < found


def test_in_a_pool_what_is_known_of_the_options_is_known_of_the_trials() -> None:
    space, surrogate, scores = pool_case()
    options = Options.of_pool(surrogate, space.pools[-1], scores)
    rows = torch.from_numpy(space.pools[-1][[4, 1, 7]])
    for fidelity in range(3):
        found = KnowledgeGradient(surrogate, fidelity, options).moments(rows)
        expected = surrogate.moments(rows, fidelity)
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.solved, expected.solved)
        torch.testing.assert_close(found.averages, expected.averages)
        torch.testing.assert_close(found.offsets, expected.offsets)
