from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import (
    POLICIES,
    PolicySettings,
    Space,
    Trials,
    bayesian,
    make_policy,
    propose,
    recommend,
)
from admire_pipeline.optimizer.acquisition import CautiousMean, KnowledgeGradient, Options
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.policy import NothingToPropose
from admire_pipeline.optimizer.pool import untried
from admire_pipeline.optimizer.search import rank
from admire_pipeline.optimizer.surrogate import Surrogate
from admire_pipeline.optimizer.trials import SAME_MIXTURE
from tests.optimizer.tables import (
    hill,
    hill_frame,
    make_frame,
    make_pools,
    make_space,
    with_metrics,
)

SEARCH = PolicySettings(design_trials=1)


def check(space: Space, frame: pd.DataFrame, name: str, seed: int = 0) -> None:
    """A proposal and a recommendation come, feasible, new and without a warning."""
    policy = make_policy(name, SEARCH)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        proposal = propose(space, frame, policy, seed)
        recommendation = recommend(space, frame, policy, seed)
    assert space.mixtures.contains(proposal.mixture)
    assert abs(proposal.mixture.sum() - 1) < 1e-12
    costs = {fidelity.name: fidelity.cost for fidelity in space.fidelities}
    assert proposal.cost == costs[proposal.fidelity]
    assert proposal.policy == name
    if recommendation is not None:
        assert space.mixtures.contains(recommendation.mixture)
        assert abs(recommendation.mixture.sum() - 1) < 1e-12
        assert np.isfinite(recommendation.score_mean)
        assert recommendation.score_sd >= 0 or name == "random"


@pytest.mark.parametrize(
    ("name", "scores"),
    [("admire", "tiny"), ("admire", "huge"), *product(POLICIES, ["one", "equal"])],
)
def test_awkward_scores(name: str, scores: str) -> None:
    space = make_space(3)
    if scores == "one":
        frame = hill_frame(space, [2])
    else:
        frame = hill_frame(space, [0, 0, 2, 2, 0, 2])
        factor = {"equal": 0.0, "tiny": 1e-6, "huge": 1e6}[scores]
        frame["score"] = factor * frame["score"] - 1.0 * (scores == "equal")
    check(space, frame, name)


@pytest.mark.parametrize("name", POLICIES)
def test_awkward_mixtures(name: str) -> None:
    # Corners with weights of exactly 0, the same mixture many times, and one that is pending.
    space = make_space(3)
    mixtures = np.vstack([np.eye(3), np.eye(3)[:1], np.full((4, 3), 1 / 3)])
    scores = [-1.0, -2.0, -3.0, -1.1, 0.0, 0.0, 0.1, 0.0]
    check(space, make_frame(space, mixtures, [0, 0, 2, 2, 2, 2, 0, 2], scores, pending=[7]), name)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("costs", [(1.0,), (2.0, 1.0)])
@pytest.mark.parametrize("domains", [2, 12])
def test_any_shape_of_space(name: str, domains: int, costs: tuple[float, ...]) -> None:
    # The target may be the cheaper size; nothing in the search assumes otherwise.
    space = make_space(domains, costs)
    check(space, hill_frame(space, [0] * 4 + [len(costs) - 1] * 3), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_fifty_domains(name: str) -> None:
    space = make_space(50, (0.001, 1.0))
    check(space, hill_frame(space, [0] * 8 + [1] * 4), name)


@pytest.mark.parametrize("name", POLICIES)
def test_bounds_and_trials_beyond_them(name: str) -> None:
    free = make_space(3)
    frame = hill_frame(free, [0, 2, 2, 0, 2, 1])
    bounds = {"d0": (0.2, 0.3), "d1": (0.0, 0.5)}
    mixtures = MixtureSpace.from_bounds(free.mixtures.domains, bounds)
    check(Space(mixtures, free.fidelities), frame, name)


@pytest.mark.parametrize("name", POLICIES)
def test_a_single_feasible_mixture(name: str) -> None:
    only = np.array([0.5, 0.25, 0.25])
    space = Space(MixtureSpace(("d0", "d1", "d2"), only, only), make_space(3).fidelities)
    frame = make_frame(space, np.tile(only, (4, 1)), [0, 0, 1, 2], [0.0, 0.1, 1.0, 2.0])
    check(space, frame, name)


@pytest.mark.parametrize("name", POLICIES)
def test_the_seed_decides_and_global_random_states_stay(name: str) -> None:
    space = make_space(3)
    frame = hill_frame(space, [0] * 4 + [2] * 3)
    policy = make_policy(name, SEARCH)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = propose(space, frame, policy, 5), recommend(space, frame, policy, 5)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    torch.rand(3)
    again = propose(space, frame, policy, 5), recommend(space, frame, policy, 5)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.mixture, two.mixture)
    assert first[0].acquisition_value == again[0].acquisition_value
    assert first[1].score_mean == again[1].score_mean


@pytest.mark.parametrize("name", ["admire", "admire-mfbo", "admire-bo"])
def test_pending_trials_are_not_proposed_again(name: str) -> None:
    space = make_space(3)
    frame = hill_frame(space, [0] * 5 + [2] * 4)
    policy = make_policy(name, SEARCH)
    seen: set[tuple[object, ...]] = set()
    for i in range(2):
        proposal = propose(space, frame, policy, 0)
        key = (proposal.fidelity, *proposal.mixture.round(3))
        assert key not in seen
        assert proposal.phase == "search"
        assert proposal.based_on[-1] == "t8"
        seen.add(key)
        row = {"trial": f"p{i}", "fidelity": proposal.fidelity, "status": "pending"}
        row |= {f"mixture.d{k}": weight for k, weight in enumerate(proposal.mixture)}
        frame = pd.concat([frame, pd.DataFrame([row])], ignore_index=True)


class Greedy(CautiousMean):
    def __init__(self, surrogate: Surrogate, fidelity: int) -> None:
        super().__init__(surrogate, 0.0)
        self.fidelity = fidelity


def test_a_tried_mixture_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # The greedy acquisition function is greatest at the first corner, which was tried.
    monkeypatch.setattr(
        bayesian, "KnowledgeGradient", lambda surrogate, fidelity, _: Greedy(surrogate, fidelity)
    )
    space = make_space(2, (0.1, 1.0))
    first = np.array([1.0, 0.0, 0.5, 1.0, 0.5, 0.0])
    frame = make_frame(
        space, np.column_stack([first, 1 - first]), [0, 0, 0, 1, 1, 1], first.tolist()
    )
    proposal = propose(space, frame, bayesian.Admire(SEARCH, batches=False), 0)
    assert 0.9 < proposal.mixture[0] < 0.9995


def test_a_small_size_tries_what_the_knowledge_gradient_prefers() -> None:
    """And not what tells most of all options."""
    space = replace(make_pools(make_space(3, (0.1, 1.0)), (12, 6), seed=3), served=("size0",))
    rows = np.vstack([space.pools[1][:3], space.pools[0][:4]])
    frame = make_frame(space, rows, [1] * 3 + [0] * 4, hill(rows).tolist())
    proposal = propose(space, frame, make_policy("admire"), 0)
    seen = Trials.from_frame(space, frame)
    surrogate = fit(space, seen, SurrogateSettings())
    scores = np.r_[hill(space.pools[1][:3]), [np.nan] * 3]
    gain = KnowledgeGradient(surrogate, 0, Options.of_pool(surrogate, space.pools[1], scores))
    best = rank(gain, untried(space, seen, 0)).best
    assert proposal.mixture.tobytes() == best.tobytes()


@pytest.mark.parametrize("name", ["admire", "admire-target", "random"])
def test_a_pool_is_used_up_row_by_row(name: str) -> None:
    space = make_pools(make_space(3), (5, 4, 6))
    space, frame = with_metrics(space, hill_frame(space, [2]), {"a": 1.0, "b": 1.0})
    frame = frame[:0]
    policy = make_policy(name)
    rng = np.random.default_rng(0)
    tried: dict[str, list[bytes]] = {fidelity.name: [] for fidelity in space.fidelities}
    rows = 15 if name == "admire" else 6
    for number in range(rows):
        proposal = propose(space, frame, policy, 0)
        pool = space.pools[int(proposal.fidelity[-1])]
        # Bit for bit one of its rows, and none that was tried, whatever came of it.
        assert proposal.mixture.tobytes() in {row.tobytes() for row in pool}
        assert proposal.mixture.tobytes() not in tried[proposal.fidelity]
        tried[proposal.fidelity].append(proposal.mixture.tobytes())
        status = ["observed", "observed", "pending", "failed"][number % 4]
        metrics = hill(proposal.mixture[None])[0] + 0.01 * rng.normal(size=2)
        row: dict[str, object] = {
            "trial": f"p{number}",
            "fidelity": proposal.fidelity,
            "status": status,
            "score": metrics.sum() if status == "observed" else np.nan,
            "metric.a": metrics[0] if status == "observed" else np.nan,
            "metric.b": metrics[1] if status == "observed" else np.nan,
        }
        row |= {f"mixture.d{k}": weight for k, weight in enumerate(proposal.mixture)}
        frame = pd.concat([frame, pd.DataFrame([row])], ignore_index=True)
        recommendation = recommend(space, frame, policy, 0)
        if recommendation is not None:
            final = {row.tobytes() for row in space.pools[-1]}
            assert recommendation.mixture.tobytes() in final
    with pytest.raises(NothingToPropose):
        propose(space, frame, policy, 0)
    if name != "admire":
        assert {len(each) for each in list(tried.values())[:-1]} == {0}


def test_in_a_pool_the_score_of_a_run_is_what_counts() -> None:
    """The best run stands out from all that is like it: only its own score tells."""
    space = make_pools(make_space(3), (4, 4, 12))
    pool = space.pools[-1]
    scores = np.zeros(8)
    scores[5] = 1.0
    frame = make_frame(space, pool[:8], [2] * 8, scores.tolist())
    recommendation = recommend(space, frame, make_policy("admire"), 0)
    assert recommendation is not None
    np.testing.assert_array_equal(recommendation.mixture, pool[5])
    assert recommendation.trial == "t5"
    # The same at a smaller size is no more than evidence.
    smaller = replace(space, pools=(pool, pool, pool))
    frame["fidelity"] = "size1"
    recommendation = recommend(smaller, frame, make_policy("admire"), 0)
    assert recommendation is not None and recommendation.score_mean < 0.9


def test_in_a_pool_an_untried_mixture_has_to_promise_more() -> None:
    """After one trial of the target all promise the same; a table's first row is no better."""
    space = make_pools(make_space(3), (4, 4, 12))
    pool = space.pools[-1]
    frame = make_frame(space, pool[7:8], [2], [0.3])
    recommendation = recommend(space, frame, make_policy("admire"), 0)
    assert recommendation is not None
    assert recommendation.trial == "t0"
    # The more of the first domain the better, and that with most of it was not tried.
    rising = pool[np.argsort(pool[:, 0])]
    frame = make_frame(space, rising[:6], [2] * 6, rising[:6, 0].tolist())
    recommendation = recommend(space, frame, make_policy("admire"), 0)
    assert recommendation is not None
    assert recommendation.trial is None


@pytest.mark.parametrize("pools", [False, True])
def test_the_target_alone_is_all_that_admire_target_knows(pools: bool) -> None:
    space = make_space(3)
    both = hill_frame(space, [0] * 5 + [1] * 2 + [2] * 4)
    if pools:
        weights = [f"mixture.d{k}" for k in range(3)]
        own = both[weights].to_numpy()
        more = space.mixtures.spread(8, np.random.default_rng(3))
        space = replace(space, pools=tuple(np.vstack([own, more]) for _ in range(3)))
    policy = make_policy("admire-target", SEARCH)
    alone = both[7:].reset_index(drop=True)
    for frame in (both, alone):
        proposal = propose(space, frame, policy, 0)
        assert proposal.fidelity == "size2"
        assert proposal.based_on == ("t7", "t8", "t9", "t10")
    one, other = propose(space, both, policy, 0), propose(space, alone, policy, 0)
    np.testing.assert_array_equal(one.mixture, other.mixture)
    first, second = recommend(space, both, policy, 0), recommend(space, alone, policy, 0)
    np.testing.assert_array_equal(first.mixture, second.mixture)
    assert recommend(space, both[:7], policy, 0) is None
    assert propose(space, both[:7], policy, 0).phase == "design"


def test_bo_uses_only_the_target_and_waits_for_it() -> None:
    space = make_space(3)
    policy = make_policy("admire-bo", SEARCH)
    low = hill_frame(space, [0] * 5)
    assert recommend(space, low, policy, 0) is None
    proposal = propose(space, low, policy, 0)
    assert (proposal.fidelity, proposal.phase) == ("size2", "design")
    both = hill_frame(space, [0] * 5 + [2] * 4)
    proposal = propose(space, both, policy, 0)
    assert proposal.based_on == ("t5", "t6", "t7", "t8")
    assert proposal.fidelity == "size2"


def test_random_recommends_the_best_target_trial() -> None:
    space = make_space(3)
    frame = hill_frame(space, [0, 2, 2, 2], pending=[3])
    recommendation = recommend(space, frame, make_policy("random"), 0)
    assert recommendation is not None
    best = frame.loc[1:2, "score"].astype(float).idxmax()
    assert recommendation.trial == f"t{best}"
    assert recommendation.score_mean == frame.loc[best, "score"]
    assert recommendation.score_sd == 0.01
    assert recommend(space, hill_frame(space, [0, 1]), make_policy("random"), 0) is None


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_observed_is_no_recommendation(name: str) -> None:
    space = make_space(3)
    assert recommend(space, pd.DataFrame(), make_policy(name), 0) is None
    assert recommend(space, hill_frame(space, [2], pending=[0]), make_policy(name), 0) is None


def test_the_recommendation_is_better_than_every_trial() -> None:
    space = make_space(3)
    frame = hill_frame(space, [0] * 25 + [2] * 8)
    recommendation = recommend(space, frame, make_policy("admire"), 0)
    assert recommendation is not None
    # The best score is 0, at the hill's top; noise 0.005, the trials' best about -0.01.
    assert hill(recommendation.mixture[None])[0] > -0.01
    assert abs(recommendation.score_mean) < 4 * recommendation.score_sd + 0.01


def test_at_first_only_tried_mixtures_are_recommended() -> None:
    space = make_space(5)
    policy = make_policy("admire")
    for fidelities, names in (
        ([0, 0], {"t0", "t1"}),
        ([0, 0, 2], {"t2"}),
        ([0, 0, 2, 0, 2, 0], {"t2", "t4"}),
    ):
        recommendation = recommend(space, hill_frame(space, fidelities), policy, 0)
        assert recommendation is not None and recommendation.trial in names
    later = recommend(space, hill_frame(space, [0, 0, 2, 0, 2, 0, 0]), policy, 0)
    assert later is not None and later.trial is None


def test_a_trial_that_is_best_is_named() -> None:
    # Scores fall in a straight line towards the second corner: the first corner is best.
    space = make_space(2, (0.1, 1.0))
    first = np.array([1.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.9])
    mixtures = np.column_stack([first, 1 - first])
    frame = make_frame(space, mixtures, [0, 0, 0, 0, 1, 1, 1, 1], first.tolist())
    recommendation = recommend(space, frame, make_policy("admire"), 0)
    assert recommendation is not None
    assert recommendation.trial == "t6"
    np.testing.assert_allclose(recommendation.mixture, [1, 0], atol=1e-12)


def test_the_unit_of_cost_does_not_matter() -> None:
    dear = make_space(6, (1e3, 3.5e3, 1e4))
    cheap = make_space(6, (0.1, 0.35, 1.0))
    frame = hill_frame(cheap, [0] * 8 + [1] * 4 + [2] * 4)
    policy = make_policy("admire", SEARCH)
    one, other = propose(cheap, frame, policy, 0), propose(dear, frame, policy, 0)
    assert one.fidelity == other.fidelity
    np.testing.assert_array_equal(one.mixture, other.mixture)
    assert other.acquisition_value == pytest.approx(one.acquisition_value * 1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_scores_does_not_matter(scale: float) -> None:
    space = make_space(8, (0.1, 1.0))
    frame = hill_frame(space, [0, 0, 0, 1] * 4, seed=3)
    scaled = frame.assign(score=scale * frame["score"], score_se=scale * frame["score_se"])
    policy = make_policy("admire", SEARCH)
    one, other = propose(space, frame, policy, 0), propose(space, scaled, policy, 0)
    assert one.fidelity == other.fidelity
    np.testing.assert_allclose(one.mixture, other.mixture, atol=1e-4)
    best, found = (recommend(space, each, policy, 0) for each in (frame, scaled))
    assert best is not None and found is not None
    # Climbs end within their tolerance of a flat top.
    np.testing.assert_allclose(best.mixture, found.mixture, atol=1e-4)
    assert found.score_mean == pytest.approx(scale * best.score_mean, rel=1e-4)


def test_failed_trials_are_not_tried_again() -> None:
    space = make_space(3)
    frame = hill_frame(space, [0] * 6 + [1] * 2 + [2] * 2)
    policy = make_policy("admire", SEARCH)
    proposal = propose(space, frame, policy, 0)
    row = {"trial": "f", "fidelity": proposal.fidelity, "status": "failed"}
    row |= {f"mixture.d{k}": weight for k, weight in enumerate(proposal.mixture)}
    failed = pd.concat([frame, pd.DataFrame([row])], ignore_index=True)
    again = propose(space, failed, policy, 0)
    assert again.fidelity != proposal.fidelity or (
        np.abs(again.mixture - proposal.mixture).max() >= SAME_MIXTURE
    )


@pytest.mark.parametrize("name", ["admire", "admire-bo"])
def test_a_region_in_which_trainings_diverge_does_not_swallow_the_budget(name: str) -> None:
    """All around the best mixture, say: where the search wants to look."""
    space = make_space(3, (0.25, 1.0))
    best = np.array([0.6, 0.3, 0.1])
    policy = make_policy(name, PolicySettings(design_trials=4))
    rows: list[dict[str, object]] = []
    failed: list[tuple[str, np.ndarray]] = []
    beside = 0

    def near(one: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.abs(one - other).max() < 0.03)

    for number in range(14):
        proposal = propose(space, pd.DataFrame(rows), policy, 0)
        row = {"trial": f"t{number}", "fidelity": proposal.fidelity, "status": "observed"}
        row |= {f"mixture.d{k}": weight for k, weight in enumerate(proposal.mixture)}
        row["score"] = -float(np.square(np.sqrt(proposal.mixture) - np.sqrt(best)).sum())
        if np.abs(proposal.mixture - best).max() < 0.2:
            row |= {"status": "failed", "score": np.nan}
            place = (proposal.fidelity, proposal.mixture)
            beside += any(size == place[0] and near(m, place[1]) for size, m in failed)
            failed.append(place)
        rows.append(row)
    assert beside <= 3, pd.DataFrame(rows)


def test_a_useless_cheap_size_is_avoided_in_the_end() -> None:
    space = make_space(3, (0.2, 1.0))
    rng = np.random.default_rng(0)
    mixtures = space.mixtures.sample(40, rng)
    scores = hill(mixtures)
    scores[:28] = rng.normal(size=28)
    frame = make_frame(space, mixtures, [0] * 28 + [1] * 12, scores.tolist())
    assert propose(space, frame, make_policy("admire"), 0).fidelity == "size1"


def test_unknown_policy_and_bad_settings() -> None:
    with pytest.raises(ValueError, match="did you mean 'admire-bo'"):
        make_policy("admire-bo2")
    with pytest.raises(ValueError, match="design_trials: 0"):
        PolicySettings(design_trials=0)
    with pytest.raises(ValueError, match="proof_trials: -1"):
        PolicySettings(proof_trials=-1)
    assert make_policy().name == "admire"
