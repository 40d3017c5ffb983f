from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from admire_pipeline.optimizer import Trials
from admire_pipeline.optimizer.acquisition import KnowledgeGradient, Options
from admire_pipeline.optimizer.batch import best_batch
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from tests.optimizer.tables import hill_frame, make_space

SPACE = make_space(6, (0.1, 1.0))
SEEN = Trials.from_frame(SPACE, hill_frame(SPACE, [0] + [1] * 3))
# One draw of the hyperparameters: with it, nothing is averaged and all is exact.
SURROGATE = fit(SPACE, SEEN, SurrogateSettings(averaged=False))
POINTS = SPACE.mixtures.spread(40, np.random.default_rng(0))
OPTIONS = Options.everywhere(SURROGATE, POINTS)
# 64 normal draws and their opposites find a gain to about this.
TOLERANCE = 0.1


def ahead() -> Options:
    """Option 7 is known, and by far the best: one trial of a small size can hardly change that."""
    values, still_open = OPTIONS.values.clone(), OPTIONS.open.clone()
    values[7] = values.max() + 0.3 * SURROGATE.variance(OPTIONS.moments).max().sqrt()
    still_open[7] = 0
    return replace(OPTIONS, values=values, open=still_open)


@pytest.mark.parametrize("fidelity", [0, 1])
def test_a_batch_of_one_is_one_trial(fidelity: int) -> None:
    gain = KnowledgeGradient(SURROGATE, fidelity, OPTIONS)
    for mixture in torch.from_numpy(POINTS[[0, 10, 28]]):
        expected = gain(mixture[None, None]).item()
        # Both by the same quadrature.
        assert gain.per_trial(mixture[None]) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_averaged_over_draws_a_batch_of_one_is_nearly_one_trial() -> None:
    """Short of what a trial tells of the hyperparameters, and of signs that cancel out."""
    surrogate = fit(SPACE, SEEN, SurrogateSettings())
    options = Options.everywhere(surrogate, POINTS)
    gain = KnowledgeGradient(surrogate, 1, options)
    one = torch.from_numpy(POINTS[[0]])
    assert gain.per_trial(one) == pytest.approx(gain(one[None]).item(), rel=0.3)


def test_several_trials_gain_what_their_scores_would() -> None:
    """Draw the scores of options and trials together, and regress on the trials."""
    gain = KnowledgeGradient(SURROGATE, 0, ahead())
    four = torch.from_numpy(POINTS[[3, 11, 20, 28]])
    moments = SURROGATE.moments(four, 0)
    inner = SURROGATE.covariance(moments, moments) + gain.noise * torch.eye(4)
    between = gain.options.open[:, None] * SURROGATE.covariance(OPTIONS.moments, moments)
    scores = np.random.default_rng(0).multivariate_normal(np.zeros(4), inner.numpy(), 40_000)
    values = gain.options.values.numpy()
    rates = []
    for number in (1, 2, 4):
        # The first few alone: those after them stay unknown.
        some = inner[:number, :number]
        slopes = torch.linalg.solve(some, between[:, :number].T).numpy()
        best = (values + scores[:, :number] @ slopes).max(axis=1)
        rates.append((best.mean() - values.max()) / number)
    # A tail that few of 128 draws reach.
    assert gain.per_trial(four) == pytest.approx(max(rates), rel=3 * TOLERANCE)


def test_where_one_trial_hardly_tells_several_are_worth_more_than_as_many_times_one() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, ahead())
    rates = [best_batch(gain, POINTS, most)[0] for most in (1, 2, 4, 8)]
    assert rates == sorted(rates)
    assert rates[-1] > 1.5 * rates[0]


def test_a_size_is_worth_what_the_mixtures_gain_that_tell_most() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, OPTIONS)
    options, means = OPTIONS.moments, OPTIONS.values
    deviations = SURROGATE.variance(options).sqrt()
    hope = torch.special.ndtr((means - means.max()) / deviations)
    trials = SURROGATE.moments(torch.from_numpy(POINTS), 0)
    told = hope @ SURROGATE.covariance(options, trials) ** 2
    told = told / (SURROGATE.variance(trials) + gain.noise)
    most = torch.from_numpy(POINTS[[int(told.argmax())]])
    assert best_batch(gain, POINTS, 1)[0] == pytest.approx(gain.per_trial(most))


def test_it_begins_with_the_mixture_that_gains_most_alone() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, OPTIONS)
    alone = gain(torch.from_numpy(POINTS).unsqueeze(-2))
    assert best_batch(gain, POINTS, 4)[1] == int(alone.argmax())


def test_mixtures_much_alike_are_not_tried_twice() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, ahead())
    first = POINTS[best_batch(gain, POINTS, 1)[1]]
    alike = np.vstack([np.tile(first, (30, 1)), POINTS])
    # Were the 30 chosen, 8 trials would tell hardly more than one.
    expected = best_batch(gain, POINTS, 8)[0]
    assert best_batch(gain, alike, 8)[0] == pytest.approx(expected, rel=TOLERANCE)
    assert gain.per_trial(torch.from_numpy(alike[:8])) < 0.9 * expected


def test_where_nothing_is_open_the_gain_is_zero() -> None:
    known = replace(OPTIONS, open=torch.zeros_like(OPTIONS.open))
    gain = KnowledgeGradient(SURROGATE, 0, known)
    value, row = best_batch(gain, POINTS, 8)
    assert value == 0 and 0 <= row < len(POINTS)
