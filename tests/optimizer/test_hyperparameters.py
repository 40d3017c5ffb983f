from __future__ import annotations

import numpy as np
import pytest
import torch

from admire_pipeline.optimizer.hyperparameters import Hyperparameters, draw_hyperparameters


def correlations(drawn: Hyperparameters) -> np.ndarray:
    covariance = drawn.coregion.numpy()
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return np.asarray(covariance / spread[:, :, None] / spread[:, None, :])


@pytest.mark.parametrize("fidelities", range(1, 8))
def test_draws_are_valid_whatever_the_number_of_fidelities(fidelities: int) -> None:
    drawn = draw_hyperparameters(128, fidelities)
    assert len(drawn) == 128
    assert drawn.noise.shape == (128, fidelities)
    assert drawn.coregion.shape == (128, fidelities, fidelities)
    assert ((drawn.linear > 0) & (drawn.linear < 1)).all()
    assert (drawn.lengthscale > 0).all() and (drawn.noise > 0).all()
    torch.testing.assert_close(drawn.coregion, drawn.coregion.transpose(1, 2))
    assert torch.linalg.eigvalsh(drawn.coregion).min() > -1e-12
    matrix = correlations(drawn)
    np.testing.assert_allclose(np.diagonal(matrix, axis1=1, axis2=2), 1)
    assert np.abs(matrix).max() <= 1 + 1e-12


def test_both_signs_of_correlation_occur() -> None:
    matrix = correlations(draw_hyperparameters(1024, 3, guard=False))
    next_to_target, farthest = matrix[:, 2, 1], matrix[:, 2, 0]
    # The entry below the diagonal is N(1, 1): at its median 1 the correlation is 1 / sqrt(2).
    assert np.median(next_to_target) == pytest.approx(0.5**0.5, abs=0.02)
    assert (next_to_target < 0).mean() == pytest.approx(0.159, abs=0.01)
    # One more size between: nothing is more certain of it.
    assert np.median(farthest) < np.median(next_to_target)
    assert 0.05 < (farthest < 0).mean() < 0.3
    # The two sizes are as free of one another.
    assert np.linalg.matrix_rank(matrix[0]) == 3


@pytest.mark.parametrize("fidelities", range(2, 8))
def test_some_draws_are_of_the_target_alone(fidelities: int) -> None:
    for skip in (0, 128):
        to_target = correlations(draw_hyperparameters(16, fidelities, skip=skip))[:, -1, :-1]
        assert (np.abs(to_target) < 1e-12).all(axis=1).tolist() == [False] * 14 + [True] * 2
    without = correlations(draw_hyperparameters(16, fidelities, guard=False))[:, -1, :-1]
    assert (without != 0).all()


def test_what_is_skipped_are_the_first_draws() -> None:
    whole = draw_hyperparameters(24, 3, guard=False)
    rest = draw_hyperparameters(8, 3, guard=False, skip=16)
    torch.testing.assert_close(whole.coregion[16:], rest.coregion)


def test_without_a_linear_part_its_share_is_zero() -> None:
    assert (draw_hyperparameters(16, 3, linear=False).linear == 0).all()


def test_medians_and_spreads_are_those_of_the_prior() -> None:
    drawn = draw_hyperparameters(1024, 2)
    assert drawn.linear.median() == pytest.approx(0.5, abs=0.01)
    for values, mean, deviation in (
        (drawn.lengthscale.log(), -0.5, 0.5),
        (drawn.noise[:, 0].log(), -1.5, 1.5),
        (drawn.noise[:, 1].log(), -1.5, 1.5),
    ):
        assert values.mean() == pytest.approx(mean, abs=0.02)
        assert values.std() == pytest.approx(deviation, rel=0.05)


def test_draws_are_always_the_same_and_leave_the_random_state() -> None:
    before = torch.get_rng_state()
    first = draw_hyperparameters(16, 3)
    assert torch.equal(torch.get_rng_state(), before)
    draw_hyperparameters.cache_clear()
    torch.testing.assert_close(draw_hyperparameters(16, 3).noise, first.noise)


def test_one_noise_is_the_same_at_all_fidelities() -> None:
    drawn = draw_hyperparameters(16, 3, one_noise=True)
    assert (drawn.noise == drawn.noise[:, :1]).all()
    assert len(drawn.noise[:, 0].unique()) == 16


def test_draws_can_be_picked() -> None:
    drawn = draw_hyperparameters(16, 3)
    chosen = drawn[torch.tensor([5, 2])]
    assert len(chosen) == 2
    assert torch.equal(chosen.coregion[0], drawn.coregion[5])
    assert len(drawn[3:7]) == 4
