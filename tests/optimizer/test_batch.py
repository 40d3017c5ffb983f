from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from admire_pipeline.optimizer import Trials
from admire_pipeline.optimizer.acquisition import KnowledgeGradient, Options
from admire_pipeline.optimizer.batch import best_batch
from admire_pipeline.optimizer.surrogate import SurrogateSettings, fit
from tests.optimizer.tables import hill_frame, make_space

SPACE = make_space(3, (0.1, 1.0))
SEEN = Trials.from_frame(SPACE, hill_frame(SPACE, [0] * 8 + [1] * 3))
# One draw of the hyperparameters: with it, nothing is averaged and all is exact.
SURROGATE = fit(SPACE, SEEN, SurrogateSettings(averaged=False))
POINTS = SPACE.mixtures.spread(40, np.random.default_rng(0))
OPTIONS = Options.everywhere(SURROGATE, POINTS)


def repeated(gain: KnowledgeGradient, mixtures: np.ndarray, most: int) -> float:
    """The mean over normal draws, of which one call has few."""
    torch.manual_seed(0)
    return float(np.mean([best_batch(gain, mixtures, most)[0] for _ in range(60)]))


@pytest.mark.parametrize("fidelity", [0, 1])
def test_a_batch_of_one_is_one_trial(fidelity: int) -> None:
    gain = KnowledgeGradient(SURROGATE, fidelity, OPTIONS)
    expected = gain(torch.from_numpy(POINTS[:1]).unsqueeze(-2)).item()
    assert repeated(gain, POINTS[:1], 1) == pytest.approx(expected, rel=0.1)


def test_of_two_trials_the_gain_is_that_of_both_scores() -> None:
    """Draw the scores of options and trials together, and regress on the trials."""
    gain = KnowledgeGradient(SURROGATE, 1, OPTIONS)
    # Two mixtures that alone bring nearly nothing, so that both are tried.
    two = POINTS[[3, 11]]
    moments = SURROGATE.moments(torch.from_numpy(two), 1)
    inner = SURROGATE.covariance(moments, moments) + gain.noise * torch.eye(2)
    slopes = torch.linalg.solve(inner, SURROGATE.covariance(OPTIONS.moments, moments).T).numpy()
    scores = np.random.default_rng(0).multivariate_normal([0, 0], inner.numpy(), 20_000)
    best = (OPTIONS.values.numpy() + scores @ slopes).max(axis=1)
    both = best.mean() - OPTIONS.values.max().item()
    alone = gain(torch.from_numpy(two).unsqueeze(-2)).max().item()
    assert repeated(gain, two, 2) == pytest.approx(max(both / 2, alone), rel=0.1)


def test_more_trials_are_considered_and_never_a_worse_number_of_them() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, OPTIONS)
    values = [repeated(gain, POINTS, most) for most in (1, 4, 16)]
    assert values[0] <= values[1] + 1e-12 and values[1] <= values[2] + 1e-12


def test_it_begins_with_the_mixture_that_tells_most() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, OPTIONS)
    options, means = OPTIONS.moments, OPTIONS.values
    deviations = SURROGATE.variance(options).sqrt()
    hope = torch.special.ndtr((means - means.max()) / deviations)
    trials = SURROGATE.moments(torch.from_numpy(POINTS), 0)
    told = hope @ SURROGATE.covariance(options, trials) ** 2
    told = told / (SURROGATE.variance(trials) + gain.noise)
    assert best_batch(gain, POINTS, 4)[1] == int(told.argmax())


def test_mixtures_much_alike_are_not_tried_twice() -> None:
    gain = KnowledgeGradient(SURROGATE, 0, OPTIONS)
    first = POINTS[best_batch(gain, POINTS, 1)[1]]
    alike = np.vstack([np.tile(first, (30, 1)), POINTS])
    # Were the 30 chosen, 8 trials would tell hardly more than one.
    assert repeated(gain, alike, 8) == pytest.approx(repeated(gain, POINTS, 8), rel=0.05)


def test_where_nothing_is_open_the_gain_is_zero() -> None:
    known = replace(OPTIONS, open=torch.zeros_like(OPTIONS.open))
    gain = KnowledgeGradient(SURROGATE, 0, known)
    value, row = best_batch(gain, POINTS, 8)
    assert value == 0 and 0 <= row < len(POINTS)
