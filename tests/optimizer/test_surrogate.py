from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError

from admire_pipeline.optimizer import Trials, surrogate
from admire_pipeline.optimizer.coregional import FidelityKernel
from admire_pipeline.optimizer.surrogate import (
    Encoding,
    fit_coregional,
    fit_multifidelity,
    fit_target,
    standardise,
)
from tests.optimizer.tables import hill, hill_frame, make_frame, make_space


def test_encoding_takes_roots_about_equal_weights() -> None:
    encode = Encoding(roots=True, column=(0.0, 1.0))
    mixtures = torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    encoded = encode(mixtures, 1)
    assert encoded[0].tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(encoded[1, :4], [0.5, -0.5, -0.5, -0.5], atol=0.02)
    assert Encoding(roots=False)(mixtures, 0).tolist() == mixtures.tolist()


def test_standardise_knows_levels() -> None:
    groups = np.array([0, 0, 2, 2, 2, 2])
    inputs = np.random.default_rng(0).normal(size=(6, 3))
    location, _ = standardise(inputs, np.array([1.0, 3.0, 100, 102, 104, 98]), groups, 4)
    # Group 1 lies as near to 0 as to 2 and takes the first; group 3 is next to 2.
    assert location.tolist() == [2, 2, 101, 101]


def test_standardise_sees_through_mixtures_much_alike() -> None:
    # One straight line, tried all over the simplex at size 0 and close by at size 1.
    space = make_space(5)
    rng = np.random.default_rng(0)
    roots = np.sqrt(space.mixtures.sample(400, rng))
    roots[200:] = roots[200] + 0.1 * (roots[200:] - roots[200])
    groups = np.repeat([0, 1], 200)
    scores = roots @ rng.normal(size=5)
    _, scale = standardise(roots, scores, groups, 3)
    spread = scores[:200].std()
    # The prior weight of one mixture and 200 draws leave about 20 %.
    np.testing.assert_allclose(scale, spread, rtol=0.35)
    assert scores[200:].std() < 0.15 * spread


@pytest.mark.parametrize("level", [0.0, -3.0, 1e6, 1e-6])
def test_standardise_equal_scores(level: float) -> None:
    _, scale = standardise(np.eye(4), np.full(4, level), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_array_less(0, scale)
    np.testing.assert_array_less(scale, 1.001 * (abs(level) or 1.0))


def test_standardise_the_same_mixture() -> None:
    _, scale = standardise(np.zeros((3, 2)), np.array([1.0, 1.1, 0.9]), np.zeros(3, dtype=int), 1)
    assert 0.01 < scale[0] < 10


def test_standardise_knows_what_errors_hide() -> None:
    inputs, scores, groups = np.eye(4), np.array([1.0, 1.001, 2, 2]), np.array([0, 0, 1, 1])
    errors = np.array([0.1, 0.1, np.nan, 0.1])
    _, scale = standardise(inputs, scores, groups, 2, errors)
    # About the errors' size, not the thousandth by which the scores happen to differ.
    assert (scale > 0.02).all() and (scale < 0.2).all()
    # However many they are.
    many = np.random.default_rng(0).normal(scale=1e-3, size=(60, 5))
    flat = standardise(many[:, :4], many[:, 4], np.zeros(60, int), 1, np.full(60, 0.1))[1]
    assert flat[0] == pytest.approx(0.1)
    # Spread that shows above the errors is left as it is.
    wide = 10_000 * scores
    assert np.array_equal(
        standardise(inputs, wide, groups, 2, errors)[1], standardise(inputs, wide, groups, 2)[1]
    )


def test_one_score_tells_nothing_of_the_spread_whatever_its_error() -> None:
    _, scale = standardise(np.ones((1, 2)), np.array([-3.0]), np.zeros(1, int), 1, np.array([0.01]))
    assert scale[0] > 1


def test_correlations_form_a_correlation_matrix() -> None:
    kernel = FidelityKernel(4)
    kernel.entries.data = 5 * torch.randn(6, generator=torch.Generator().manual_seed(0)).double()
    matrix = kernel.correlation.detach()
    np.testing.assert_allclose(matrix.diagonal(), 1, atol=1e-12)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-12
    positions = torch.tensor([[0.0], [3.0], [1.0]], dtype=torch.float64)
    dense = kernel(positions).to_dense().detach()
    assert dense[0, 1] == pytest.approx(matrix[0, 3].item())
    np.testing.assert_allclose(kernel(positions, diag=True).detach(), np.ones(3))


def test_a_priori_a_size_is_the_more_like_the_target_the_larger_it_is() -> None:
    correlation = FidelityKernel(3).correlation.detach()
    expected = [3**-0.5, 2**-0.5, 1.0]
    np.testing.assert_allclose(correlation[-1], expected)
    assert correlation[0, 1] > correlation[0, 2]


@pytest.mark.parametrize(("relation", "low", "high"), [(1, 0.8, 1.01), (-1, -1.01, -0.5)])
def test_correlation_with_the_target_is_learned(relation: int, low: float, high: float) -> None:
    space = make_space(3, (0.1, 1.0))
    rng = np.random.default_rng(0)
    mixtures = space.mixtures.sample(36, rng)
    fidelities = [0] * 24 + [1] * 12
    scores = hill(mixtures)
    scores[:24] = 2 * relation * scores[:24] - 5
    frame = make_frame(space, mixtures, fidelities, scores.tolist())
    fitted = fit_coregional(space, Trials.from_frame(space, frame))
    correlation = fitted.model.fidelity_kernel.correlation[0, 1].item()
    assert low < correlation < high


@pytest.mark.parametrize("seed", range(3))
def test_sizes_that_rank_the_other_way_round_are_recognised(seed: int) -> None:
    """From the usual start the fit ends at correlations of about -0.3 here."""
    space = make_space(12)
    rng = np.random.default_rng(seed)
    fidelities = np.array([0] * 30 + [1] * 10 + [2] * 10)
    mixtures = space.mixtures.spread(50, rng)
    scores = hill(mixtures) * np.where(fidelities == 2, 1, -1) + 0.005 * rng.normal(size=50)
    frame = make_frame(space, mixtures, fidelities.tolist(), scores.tolist())
    fitted = fit_coregional(space, Trials.from_frame(space, frame))
    assert (fitted.model.fidelity_kernel.correlation[-1, :2] < -0.7).all()


@pytest.mark.parametrize("kind", ["noise", "another function"])
def test_a_useless_size_does_little_harm(kind: str) -> None:
    space = make_space(3, (0.1, 1.0))
    rng = np.random.default_rng(0)
    mixtures = space.mixtures.sample(36, rng)
    scores = hill(mixtures)
    scores[:24] = rng.normal(size=24) if kind == "noise" else np.sin(9 * mixtures[:24, 1])
    frame = make_frame(space, mixtures, [0] * 24 + [1] * 12, scores.tolist())
    seen = Trials.from_frame(space, frame)
    test = space.mixtures.sample(200, rng)
    errors = [
        np.abs(fit_coregional(space, trials).predict(test)[0] - hill(test)).mean()
        for trials in (seen, seen.where(seen.fidelities == 1))
    ]
    # Twelve target trials find this function to 1e-4 alone, which leaves no ratio to hold on to.
    assert errors[0] < 1.5 * errors[1] + 0.2 * hill(test).std()


def test_cheap_trials_teach_the_target() -> None:
    space = make_space(4)
    seen = Trials.from_frame(space, hill_frame(space, [0] * 30 + [2] * 4))
    test = space.mixtures.sample(200, np.random.default_rng(9))
    mean, deviation = fit_coregional(space, seen).predict(test)
    alone, _ = fit_coregional(space, seen.where(seen.fidelities == 2)).predict(test)
    truth = hill(test)
    assert np.corrcoef(mean, truth)[0, 1] > max(0.85, np.corrcoef(alone, truth)[0, 1] + 0.03)
    # Of 200 standardised errors, a calibrated model leaves about 0.3 % beyond 3.
    assert np.mean(np.abs(mean - truth) < 3 * deviation) > 0.9


@pytest.mark.parametrize("fit", [fit_coregional, fit_multifidelity, fit_target])
@pytest.mark.parametrize(("scale", "shift"), [(1e6, 0.0), (1e-6, -5e-5)])
def test_predictions_follow_the_units_of_the_score(fit, scale: float, shift: float) -> None:
    space = make_space(3)
    frame = hill_frame(space, [2] * 8)
    test = space.mixtures.sample(5, np.random.default_rng(0))
    mean, deviation = fit(space, Trials.from_frame(space, frame)).predict(test)
    frame["score"] = scale * frame["score"] + shift
    frame["score_se"] *= scale
    other, other_deviation = fit(space, Trials.from_frame(space, frame)).predict(test)
    # The optimum of the hyperparameters is found to about 1e-3.
    np.testing.assert_allclose((other - shift) / scale, mean, atol=5e-3)
    np.testing.assert_allclose(other_deviation / scale, deviation, rtol=0.1)


def test_before_the_first_target_trial_its_level_is_uncertain() -> None:
    space = make_space(3)
    uniform = space.mixtures.uniform()[None]
    for fidelities in ([0] * 2, [0] * 6, [0] * 4 + [1] * 2):
        seen = Trials.from_frame(space, hill_frame(space, fidelities))
        mean, deviation = fit_coregional(space, seen).predict(uniform)
        # Of `hill_frame`: each size is lower by one than the next.
        assert abs(mean[0] - hill(uniform)[0]) < 2 * deviation[0]


@pytest.mark.parametrize("fit", [fit_coregional, fit_multifidelity, fit_target])
def test_believing_keeps_predictions_and_removes_uncertainty(fit) -> None:
    space = make_space(3)
    trials = Trials.from_frame(space, hill_frame(space, [2] * 8, pending=[6, 7]))
    fitted = fit(space, trials.where(trials.observed))
    pending = trials.where(~trials.observed)
    before, uncertain = fitted.predict(trials.mixtures)
    fitted.believe(pending)
    after, certain = fitted.predict(trials.mixtures)
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert np.all(certain[6:] < uncertain[6:])
    fitted.believe(trials.where(np.zeros(8, dtype=bool)))


def test_a_failed_fit_keeps_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelFittingError

    monkeypatch.setattr(surrogate, "fit_gpytorch_mll", fail)
    space = make_space(3)
    fitted = fit_coregional(space, Trials.from_frame(space, hill_frame(space, [0, 1, 2, 2])))
    mean, deviation = fitted.predict(space.mixtures.uniform()[None])
    assert np.isfinite([*mean, *deviation]).all()
