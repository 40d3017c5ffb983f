from __future__ import annotations

import numpy as np
import pytest

from admire_pipeline.replay.mixing_law import MixingLawProblem

SEEDS = range(6)


def scores(problem: MixingLawProblem, mixtures: np.ndarray, fidelity: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([problem.evaluate(mixture, fidelity, rng).score for mixture in mixtures])


@pytest.mark.parametrize("seed", SEEDS)
def test_small_sizes_tell_or_mislead(seed: int) -> None:
    for misleading in (False, True):
        problem = MixingLawProblem(seed, misleading=misleading, noise=0.0)
        mixtures = problem.space.mixtures.sample(500, np.random.default_rng(1))
        target = scores(problem, mixtures, 2)
        agreement = [
            np.corrcoef(scores(problem, mixtures, size), target)[0, 1] for size in range(2)
        ]
        if misleading:
            assert agreement[0] < 0 and agreement[1] < 0.9
        else:
            assert min(agreement) > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_pick_has_regret_1_and_a_corner_much_more(seed: int) -> None:
    problem = MixingLawProblem(seed, misleading=True)
    space = problem.space.mixtures
    picked = [problem.regret(mixture) for mixture in space.sample(2000, np.random.default_rng(2))]
    # 2,000 draws of a standard deviation below 1.
    assert np.mean(picked) == pytest.approx(1.0, abs=0.05)
    assert min(picked) > -0.01
    assert np.mean([problem.regret(corner) for corner in np.eye(len(space))]) > 3


def test_runs_have_the_noise_asked_for() -> None:
    problem = MixingLawProblem(0, misleading=False, noise=0.1)
    uniform = problem.space.mixtures.uniform()
    rng = np.random.default_rng(3)
    runs = [problem.evaluate(uniform, 2, rng).score for _ in range(400)]
    mixtures = problem.space.mixtures.sample(2000, rng)
    spread = np.std([problem.truth(mixture) for mixture in mixtures])
    assert np.mean(runs) == pytest.approx(problem.truth(uniform), abs=0.02 * spread)
    assert np.std(runs) == pytest.approx(0.1 * spread, rel=0.1)
