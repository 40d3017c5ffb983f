"""The baselines, on pools and on the simplex."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, PolicySettings, Space, Trials, propose, recommend
from admire_pipeline.optimizer.policy import NothingToPropose
from admire_pipeline.replay import policies, regmix
from tests.optimizer.tables import hill, hill_frame, make_frame, make_space
from tests.optimizer.test_published import made_up, pool_space, transcribed_bo

EVERY = ["random", "uniform", "regmix", "zero-shot-size0", "zero-shot-size1"]


def make(name: str, space: Space):
    return policies.make(name, PolicySettings(), space.fidelities)


def test_every_choice_of_ours_can_be_taken_back() -> None:
    space = make_space(4, (0.2, 1.0))
    first = {
        name: propose(space, pd.DataFrame(), make(name, space), 0) for name in policies.ABLATIONS
    }
    assert {name for name, made in first.items() if made.fidelity == "size0"} == {"admire-no-proof"}
    once = hill_frame(space, [1])
    second = {name: propose(space, once, make(name, space), 0) for name in policies.ABLATIONS}
    small = {name for name, made in second.items() if made.fidelity == "size0"}
    assert small == {"admire-no-proof", "admire-one-proof"}


def big_pools(small: int = 200, target: int = 30) -> Space:
    """Four domains; the best of the target's pool is clear and no mixture is in both pools."""
    rng = np.random.default_rng(0)
    pools = tuple(rng.dirichlet(np.ones(4), size=n) for n in (small, target))
    fidelities = (Fidelity("size0", 0.1), Fidelity("size1", 1.0))
    return Space(MixtureSpace(tuple("abcd")), fidelities, pools)


def small_runs(space: Space, count: int) -> pd.DataFrame:
    mixtures = (
        space.pools[0][:count]
        if space.pools
        else space.mixtures.spread(count, np.random.default_rng(1))
    )
    return make_frame(space, mixtures, [0] * count, hill(mixtures).tolist())


def test_every_name_makes_its_policy() -> None:
    space = make_space()
    for name in policies.names(space.fidelities):
        assert make(name, space).name == name


def test_zero_shot_stands_for_every_smaller_size() -> None:
    names = policies.expand(["zero-shot", "random", "zero-shot-size1"], make_space().fidelities)
    assert names == ["zero-shot-size0", "zero-shot-size1", "random"]


@pytest.mark.parametrize("name", ["regmx", "zero-shot-size2", "zero-shot-huge"])
def test_unknown_names_are_one_line(name) -> None:
    for ask in (
        lambda: policies.expand([name], make_space().fidelities),
        lambda: make(name, make_space()),
    ):
        with pytest.raises(UserError, match=f"policies: unknown '{name}'.*allowed: ") as caught:
            ask()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", EVERY)
def test_pools_are_used_up_row_by_row(name) -> None:
    (x0, _), (x1, _), (x2, _) = made_up()[0]
    space = pool_space([(x0[:4], x0), (x1[:3], x1), (x2[:5], x2)], [0.1, 0.3, 1.0])
    level = {"regmix": 0, "zero-shot-size0": 0, "zero-shot-size1": 1}.get(name, 2)
    policy = make(name, space)
    mixtures = np.empty((0, 5))
    while True:
        count = len(mixtures)
        scores = hill(mixtures).tolist() if count else []
        frame = make_frame(space, mixtures, [level] * count, scores)
        frame.loc[frame.index % 3 == 1, ["status", "score"]] = ["failed", math.nan]
        recommendation = recommend(space, frame, policy, seed=4)
        if recommendation is not None:
            assert np.any(np.all(space.pools[-1] == recommendation.mixture, axis=1))
        try:
            proposal = propose(space, frame, policy, seed=4)
        except NothingToPropose:
            break
        assert proposal.fidelity == f"size{level}"
        assert np.any(np.all(space.pools[level] == proposal.mixture, axis=1))
        assert not np.any(np.all(mixtures == proposal.mixture, axis=1))
        mixtures = np.vstack([mixtures, proposal.mixture])
    assert len(mixtures) == (1 if name == "uniform" else len(space.pools[level]))


@pytest.mark.parametrize("name", EVERY)
def test_feasible_on_the_simplex_within_bounds(name) -> None:
    space = make_space(4)
    bounded = MixtureSpace(space.mixtures.domains, np.full(4, 0.05), np.full(4, 0.6))
    space = Space(bounded, space.fidelities)
    policy = make(name, space)
    frame = hill_frame(space, [0, 1, 2] * 3) if name != "uniform" else pd.DataFrame()
    assert space.mixtures.contains(propose(space, frame, policy, seed=0).mixture)
    recommendation = recommend(space, frame, policy, seed=0)
    assert recommendation is not None
    assert space.mixtures.contains(recommendation.mixture)


def test_uniform_is_the_nearest_row_before_and_after_its_trial() -> None:
    space = big_pools()
    policy = make("uniform", space)
    nearest = space.pools[1][np.argmin(np.linalg.norm(space.pools[1] - 0.25, axis=1))]
    before = recommend(space, pd.DataFrame(), policy, seed=0)
    assert before is not None
    assert np.array_equal(before.mixture, nearest)
    assert math.isnan(before.score_mean)
    proposal = propose(space, pd.DataFrame(), policy, seed=0)
    assert np.array_equal(proposal.mixture, nearest)
    frame = make_frame(space, nearest[None], [1], [0.5])
    after = recommend(space, frame, policy, seed=0)
    assert after is not None
    assert (after.score_mean, after.trial) == (0.5, "t0")
    with pytest.raises(NothingToPropose):
        propose(space, frame, policy, seed=0)


def test_regmix_finds_the_best_of_a_pool_it_never_tried() -> None:
    space = big_pools()
    policy = make("regmix", space)
    recommendation = recommend(space, small_runs(space, 200), policy, seed=0)
    assert recommendation is not None
    truth = hill(space.pools[1])
    chosen = np.all(space.pools[1] == recommendation.mixture, axis=1)
    assert truth[chosen][0] >= np.sort(truth)[-3]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_regmix_does_not_mind_the_scale_of_scores(scale) -> None:
    space = big_pools()
    frame = small_runs(space, 100)
    policy = make("regmix", space)
    plain = recommend(space, frame, policy, seed=0)
    frame["score"] = scale * (frame["score"] + 3)
    scaled = recommend(space, frame, policy, seed=0)
    assert plain is not None
    assert scaled is not None
    assert np.array_equal(plain.mixture, scaled.mixture)


def test_regmix_fits_as_its_notebook_does() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    space = big_pools()
    frame = small_runs(space, 100)
    rng = np.random.default_rng(0)
    frame["score"] += 0.3 * rng.standard_t(2, len(frame))  # outliers: l1 and l2 stall apart
    seen = Trials.from_frame(space, frame)
    scores = (seen.scores - seen.scores.mean()) / seen.scores.std()
    held = len(seen) // 8

    def fitted(metric: list[str]) -> np.ndarray:
        model = lightgbm.LGBMRegressor(
            n_estimators=1000, learning_rate=0.01, seed=42, metric=metric, verbosity=-1
        )
        model.fit(
            seen.mixtures[held:],
            scores[held:],
            eval_X=seen.mixtures[:held],
            eval_y=scores[:held],
            callbacks=[lightgbm.early_stopping(3, verbose=False)],
        )
        predicted = model.booster_.predict(space.pools[1])
        return np.asarray(seen.scores.mean() + seen.scores.std() * predicted)

    ours = regmix._predict(seen, space.pools[1])
    np.testing.assert_allclose(ours, fitted(["l1", "l2"]), rtol=1e-9)
    assert not np.allclose(ours, fitted(["l2"]), rtol=1e-3)


def test_regmix_averages_simulated_mixtures_on_the_simplex() -> None:
    space = make_space(4)
    recommendation = recommend(space, small_runs(space, 200), make("regmix", space), seed=0)
    assert recommendation is not None
    random = hill(space.mixtures.sample(1000, np.random.default_rng(2)))
    assert hill(recommendation.mixture[None])[0] > np.quantile(random, 0.9)


@pytest.mark.parametrize("count", [1, 20])
def test_regmix_with_few_runs_stays_near_the_best_one(count) -> None:
    space = big_pools()
    frame = small_runs(space, count)
    recommendation = recommend(space, frame, make("regmix", space), seed=0)
    assert recommendation is not None
    best = space.pools[0][int(np.argmax(frame["score"]))]
    nearest = space.pools[1][np.argmin(np.linalg.norm(space.pools[1] - best, axis=1))]
    assert np.array_equal(recommendation.mixture, nearest)


def test_regmix_without_lightgbm_names_the_extra(monkeypatch) -> None:
    space = big_pools()
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"regmix.*admire-pipeline\[benchmark\]"):
        recommend(space, small_runs(space, 5), make("regmix", space), seed=0)


def test_zero_shot_chooses_as_the_published_recipe() -> None:
    tables, costs = made_up()
    space = pool_space(tables, costs)
    steps = 8
    expected, recommended = transcribed_bo(tables, costs, 1, 0, steps)
    policy = make("zero-shot-size0", space)
    rows: list[np.ndarray] = []
    for n in range(steps):
        frame = pd.DataFrame()
        if n:
            scores = [tables[0][1][i] for i in map(lambda r: _row(tables[0][0], r), rows)]
            frame = make_frame(space, np.array(rows), [0] * n, scores)
            recommendation = recommend(space, frame, policy, seed=1)
            assert recommendation is not None
            assert _row(tables[2][0], recommendation.mixture) == recommended[n - 1]
        rows.append(propose(space, frame, policy, seed=1).mixture)
    assert [[*row, costs[0]] for row in rows] == expected


def _row(mixtures: np.ndarray, mixture: np.ndarray) -> int:
    return int(np.flatnonzero(np.all(mixtures == mixture, axis=1))[0])
