from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import (
    PolicySettings,
    Proposal,
    Space,
    Trials,
    make_policy,
    propose,
    recommend,
)
from admire_pipeline.optimizer.bayesian import Admire
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.design import Rules, in_set_up, open_fidelities, proves
from admire_pipeline.replay import policies
from tests.optimizer.tables import hill, hill_frame, make_frame, make_space, with_metrics

DEFAULT = PolicySettings().proof_trials


def run_design(
    space: Space, policy: str, number: int, seed: int = 0, proof_trials: int = DEFAULT
) -> list[Proposal]:
    chosen = make_policy(policy, PolicySettings(proof_trials=proof_trials))
    made: list[Proposal] = []
    for _ in range(number):
        made.append(propose(space, as_frame(space, made), chosen, seed))
    return made


def as_frame(space: Space, made: list[Proposal]) -> pd.DataFrame:
    if not made:
        return pd.DataFrame()
    names = [fidelity.name for fidelity in space.fidelities]
    mixtures = np.array([proposal.mixture for proposal in made])
    fidelities = [names.index(proposal.fidelity) for proposal in made]
    every = range(len(made))
    return make_frame(space, mixtures, fidelities, [0.0] * len(made), pending=every)


def sizes(made: list[Proposal]) -> list[int]:
    return [int(proposal.fidelity[-1]) for proposal in made]


def opened(space: Space, tried: Sequence[int], proof_trials: int = DEFAULT) -> list[int]:
    frame = hill_frame(space, tried, pending=range(len(tried)))
    return open_fidelities(space, Trials.from_frame(space, frame), proof_trials)


def test_sizes_that_are_next_to_free_come_first_as_far_as_the_credit_goes() -> None:
    # Four domains; a tenth of the target's cost pays for ten trials of the smallest size.
    space = make_space(4, (0.01, 0.06, 1.0))
    assert opened(space, []) == [0, 1]
    assert opened(space, [0] * 4) == [0, 1]
    assert opened(space, [0] * 5) == [0]
    assert opened(space, [1]) == [0]
    assert opened(space, [0] * 9) == [0]
    # The credit is spent: the target has to show what they are worth.
    assert opened(space, [0] * 10) == [2]
    assert opened(space, [0] * 10 + [2]) == [2]
    assert opened(space, [0] * 10 + [2] * DEFAULT) == [0, 1, 2]
    # From then on they are open whatever they cost, and also where the target came first.
    assert opened(space, [0] * 50 + [2] * DEFAULT) == [0, 1, 2]
    assert opened(space, [2] * DEFAULT) == [0, 1, 2]
    # A trial of the target does not touch the credit.
    assert opened(space, [2]) == [0, 1]


def test_sizes_that_are_not_free_wait_for_the_target() -> None:
    for space in (make_space(4, (0.2, 1.0)), make_space(11, (0.01, 1.0))):
        assert opened(space, []) == [1]
        assert opened(space, [1]) == [1]
        assert opened(space, [1, 1]) == [0, 1]
    # Just enough for as many trials as there are domains, round-off aside.
    assert opened(make_space(10, (0.01, 1.0)), []) == [0]


def test_who_trusts_small_sizes_has_them_sooner() -> None:
    space = make_space(4, (0.2, 1.0))
    assert opened(space, [], proof_trials=0) == [0, 1]
    assert opened(space, [], proof_trials=1) == [1]
    assert opened(space, [1], proof_trials=1) == [0, 1]
    assert sizes(run_design(space, "admire", 6, proof_trials=0)) == [0] * 6
    assert sizes(run_design(space, "admire", 6, proof_trials=1)) == [1, 0, 0, 0, 0, 0]
    assert sizes(run_design(space, "admire-target", 3, proof_trials=0)) == [1] * 3


def test_failed_trials_of_the_target_prove_nothing() -> None:
    space = make_space(4, (0.2, 1.0))
    frame = hill_frame(space, [1, 1]).assign(status="failed", score=np.nan)
    assert open_fidelities(space, Trials.from_frame(space, frame), DEFAULT) == [1]


def test_the_set_up_phase_goes_on_until_the_target_has_told_something() -> None:
    space = make_space(4, (0.2, 1.0))
    failed = as_frame(space, run_design(space, "admire", 2)).assign(status="failed", score=np.nan)
    assert propose(space, failed, make_policy("admire"), 0).fidelity == "size1"
    # Runs of the target that a warm start brought have told it already.
    known = hill_frame(space, [1, 1])
    assert propose(space, known, make_policy("admire"), 0).fidelity == "size0"


def test_a_lone_target_and_a_target_that_is_cheaper_are_fine() -> None:
    assert opened(make_space(3, (1.0,)), []) == [0]
    assert opened(make_space(3, (2.0, 1.0)), []) == [1]


def test_the_unit_of_cost_does_not_matter() -> None:
    for tried in ([], [0] * 9, [0] * 10):
        one, other = make_space(4, (0.01, 0.06, 1.0)), make_space(4, (7e3, 42e3, 7e5))
        assert opened(one, tried) == opened(other, tried)


def test_the_target_comes_first_and_then_the_same_mixtures_at_the_smallest_size() -> None:
    space = make_space(4)
    made = run_design(space, "admire", 6)
    assert sizes(made) == [2, 2, 0, 0, 0, 0]
    assert {p.phase for p in made} == {"design"}
    np.testing.assert_array_equal(made[0].mixture, space.mixtures.uniform())
    for i in range(DEFAULT):
        np.testing.assert_array_equal(made[DEFAULT + i].mixture, made[i].mixture)
    assert made[3].cost == space.fidelities[0].cost


def first_four(name: str) -> list[Proposal]:
    space = make_space(6, (0.2, 1.0))
    policy = policies.make(name, PolicySettings(), space.fidelities)
    made: list[Proposal] = []
    for _ in range(4):
        made.append(propose(space, as_frame(space, made), policy, 0))
    return made


def test_the_rules_of_the_design_can_be_taken_back() -> None:
    ours, untied, uneven = map(first_four, ("admire", "admire-untied", "admire-uneven"))
    np.testing.assert_array_equal(ours[2].mixture, ours[0].mixture)
    mixtures = {proposal.mixture.tobytes() for proposal in untied}
    assert sizes(untied) == [1, 1, 0, 0] and len(mixtures) == 4
    # The farthest of all draws is nearer to a corner than the farthest of the uniform ones.
    assert uneven[1].mixture.max() > ours[1].mixture.max()


def test_without_credit_the_target_comes_first_however_cheap_small_sizes_are() -> None:
    space = make_space(4, (0.01, 0.06, 1.0))
    trials = Trials.from_frame(space, pd.DataFrame())
    assert open_fidelities(space, trials, DEFAULT, 0.0) == [2]
    policy = policies.make("admire-no-credit", PolicySettings(), space.fidelities)
    assert propose(space, pd.DataFrame(), policy, 0).fidelity == space.target.name


def test_where_the_smallest_size_is_next_to_free_it_comes_first() -> None:
    space = make_space(3, (0.02, 0.3, 1.0))
    made = run_design(space, "admire", 9)
    assert sizes(made) == [0] * 5 + [2] * DEFAULT + [0] * 2
    for i in range(DEFAULT):
        np.testing.assert_array_equal(made[5 + i].mixture, made[i].mixture)


@pytest.mark.parametrize("costs", [(1.0,), (0.1, 1.0), (0.1, 0.2, 0.4, 0.8, 1.0)])
def test_any_number_of_sizes(costs: tuple[float, ...]) -> None:
    space = make_space(3, costs)
    made = run_design(space, "admire", 9)
    assert len({(p.fidelity, *p.mixture.round(6)) for p in made}) == 9
    assert space.target.name in {p.fidelity for p in made[:3]}


def test_a_restart_gives_the_same_design_and_another_seed_another() -> None:
    space = make_space(4)
    first, again, other = (run_design(space, "admire", 6, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.mixture, b.mixture)
    assert np.abs(first[1].mixture - other[1].mixture).max() > 1e-3


def set_up(space: Space, frame: pd.DataFrame, settings: PolicySettings | None = None) -> bool:
    trials, settings = Trials.from_frame(space, frame), settings or PolicySettings()
    return in_set_up(space, trials, open_fidelities(space, trials, DEFAULT), settings)


def test_it_goes_on_until_the_domains_can_be_told_apart() -> None:
    space = make_space(9)
    proof = [2] * DEFAULT
    assert set_up(space, hill_frame(space, proof + [0] * 8))
    assert not set_up(space, hill_frame(space, proof + [0] * 9))
    assert set_up(space, hill_frame(space, proof + [0] * 8, pending=[3]))
    for length in (3, 20):
        settings = PolicySettings(design_trials=length)
        assert set_up(space, hill_frame(space, (proof + [0] * 20)[: length - 1]), settings)
        assert not set_up(space, hill_frame(space, (proof + [0] * 20)[:length]), settings)


def test_trials_of_other_sizes_tell_the_domains_apart_too() -> None:
    space = make_space(9)
    for known in ([2] * 3 + [1] * 8, [1] * 9 + [2] * 2, [0] * 3 + [1] * 8):
        assert not set_up(space, hill_frame(space, known))
        assert set_up(space, hill_frame(space, known[1:]))


def test_it_costs_no_more_than_six_trainings_of_the_target() -> None:
    space = make_space(20, (0.6, 1.0))
    assert set_up(space, hill_frame(space, [1, 1] + [0] * 5))
    assert not set_up(space, hill_frame(space, [1, 1] + [0] * 6))
    alone = make_space(20, (3.0,))
    assert set_up(alone, hill_frame(alone, [0] * 5))
    assert not set_up(alone, hill_frame(alone, [0] * 6))


def test_failed_trials_tell_nothing_of_the_domains_but_cost() -> None:
    space = make_space(9)
    frame = hill_frame(space, [2] * DEFAULT + [0] * 9)
    frame.loc[[4], ["status", "score"]] = ["failed", np.nan]
    assert set_up(space, frame)
    frame = hill_frame(space, [2] * DEFAULT + [0] * 40)
    frame.loc[2:, ["status", "score"]] = ["failed", np.nan]
    assert not set_up(space, frame)


def test_the_mixtures_of_the_target_are_even_and_others_are_not() -> None:
    made = run_design(make_space(20), "admire", 12)
    largest = [float(p.mixture.max()) for p in made]
    assert max(largest[: 2 * DEFAULT]) < 0.4 < max(largest[2 * DEFAULT :])


def test_a_point_that_left_the_table_comes_again() -> None:
    space = make_space(4)
    made = run_design(space, "admire", 5)
    without = [*made[:1], *made[2:]]
    again = propose(space, as_frame(space, without), make_policy("admire"), 0)
    np.testing.assert_array_equal(again.mixture, made[1].mixture)
    assert again.fidelity == made[1].fidelity


def test_the_design_goes_on_while_nothing_is_observed() -> None:
    made = run_design(make_space(4), "admire", 9)
    assert {p.phase for p in made} == {"design"}
    assert len({(p.fidelity, *p.mixture.round(6)) for p in made}) == 9


@pytest.mark.parametrize("policy", ["admire-bo", "admire-target"])
def test_target_only_designs_stay_at_the_target(policy: str) -> None:
    space = make_space(4)
    made = run_design(space, policy, 6)
    assert {p.fidelity for p in made} == {space.target.name}
    assert len({tuple(p.mixture.round(6)) for p in made}) == 6


def test_a_small_pool_that_is_used_up_leaves_the_target() -> None:
    """Its credit is not spent, and nothing is left to spend it on."""
    simplex = make_space(3, (0.001, 1.0))
    rows = simplex.mixtures.sample(3, np.random.default_rng(0))
    space = Space(simplex.mixtures, simplex.fidelities, (rows, rows))
    made: list[Proposal] = []
    scores: list[float] = []
    for _ in range(6):
        frame = as_frame(space, made)
        if made:
            frame["status"], frame["score"] = "observed", scores
        made.append(propose(space, frame, make_policy("admire"), 0))
        scores.append(float(made[-1].mixture[0]))
    assert sizes(made) == [0, 0, 0, 1, 1, 1]


def test_a_policy_that_trusts_recommends_what_was_never_tried() -> None:
    space = make_space(4, (0.2, 1.0))
    frame = hill_frame(space, [1, 1, 1])
    careful, trusting = (
        recommend(space, frame, policies.make(name, PolicySettings(), space.fidelities), 0)
        for name in ("admire", "admire-trusting")
    )
    assert careful is not None and careful.trial is not None
    assert trusting is not None and trusting.trial is None


def test_what_is_recommended_is_safer_than_the_best_predicted() -> None:
    space = make_space(4, (0.2, 1.0))
    frame = hill_frame(space, [0] * 8 + [1, 1])
    safe, bold = (
        recommend(space, frame, policies.make(name, PolicySettings(), space.fidelities), 0)
        for name in ("admire", "admire-bold")
    )
    assert safe is not None and bold is not None
    assert safe.score_mean < bold.score_mean and safe.score_sd < bold.score_sd
    assert safe.score_mean - 0.5 * safe.score_sd > bold.score_mean - 0.5 * bold.score_sd


FREE = (0.001, 0.06, 1.0)


def proving(tried: Sequence[int], allowed: Sequence[int] = (2,), proof_trials: int = 2) -> bool:
    space = make_space(4, FREE)
    trials = Trials.from_frame(space, hill_frame(space, tried))
    return proves(space, trials, list(allowed), proof_trials)


def test_where_small_sizes_came_first_the_second_target_trial_is_their_proof() -> None:
    small = [0] * 6
    assert [proving(small + [2] * count) for count in range(4)] == [False, True, False, False]
    assert proving([1, 2]) and proving([*small, 2, 2], proof_trials=3)
    # Nothing is to be proved, or it can wait for those who may try the target.
    assert not proving([2]) and not proving([*small, 2], allowed=(0, 1, 2))
    assert not proving([*small, 2], allowed=(0,)) and not proving([*small, 2], proof_trials=1)


def reversed_sizes(space: Space, seed: int) -> pd.DataFrame:
    """Small runs that rank mixtures the other way round, and the one they promise most of."""
    frame = hill_frame(space, [0] * 20 + [2], seed)
    small = frame["fidelity"] == "size0"
    frame.loc[small, "score"] *= -1
    best = frame.loc[small, "score"].idxmax()
    weights = [f"mixture.{name}" for name in space.mixtures.domains]
    frame.loc[~small, weights] = frame.loc[best, weights].to_numpy()
    mixture = frame.loc[~small, weights].to_numpy()
    frame.loc[~small, "score"] = hill(mixture)
    return frame


@pytest.mark.parametrize("pools", [False, True])
def test_a_proof_trial_shows_that_small_sizes_mislead(pools: bool) -> None:
    regrets = []
    for rules, seed in product((Rules(), Rules(proof=False)), range(3)):
        space = make_space(4, FREE)
        frame = reversed_sizes(space, seed)
        if pools:
            tried = frame[[f"mixture.d{i}" for i in range(4)]].to_numpy()
            pool = np.vstack([tried[-1:], space.mixtures.spread(30, np.random.default_rng(seed))])
            space = replace(space, pools=(tried[:-1], pool, pool))
        policy = Admire(PolicySettings(), rules=rules)
        # The credit of a tenth is not spent yet, but trials at the target are what is looked at.
        trained = replace(space, served=("size2",))
        proposal = propose(trained, frame, policy, seed)
        assert proposal.fidelity == "size2"
        assert (proposal.phase == "proof") == rules.proof
        shown = make_frame(
            space, proposal.mixture[None], [2], hill(proposal.mixture[None]).tolist()
        )
        both = pd.concat([frame, shown.assign(trial="proof")], ignore_index=True)
        found = recommend(space, both, policy, seed)
        assert found is not None
        regrets.append(-hill(found.mixture[None])[0])
    assert np.mean(regrets[:3]) < 0.5 * np.mean(regrets[3:])


@pytest.mark.parametrize("statuses", [["pending"], ["observed", "pending"], ["observed", "failed"]])
def test_what_others_try_at_the_target_is_not_proved_twice(statuses: list[str]) -> None:
    space = replace(make_space(4, FREE), served=("size2",))
    for seed in range(3):
        frame = reversed_sizes(space, seed)
        policy = Admire(PolicySettings(proof_trials=3))
        if len(statuses) > 1:
            first = propose(space, frame, policy, seed)
            proof = make_frame(space, first.mixture[None], [2], [np.nan])
            frame = pd.concat([frame, proof.assign(trial="proof")], ignore_index=True)
        frame.loc[frame.index[-len(statuses) :], "status"] = statuses
        frame.loc[frame["status"] != "observed", "score"] = np.nan
        proposal = propose(space, frame, policy, seed)
        assert proposal.phase == "proof"
        assert 0 <= (proposal.acquisition_value or 0.0) <= 1
        weights = [f"mixture.{name}" for name in space.mixtures.domains]
        others = frame.loc[frame["status"] != "observed", weights].to_numpy()
        apart = np.abs(np.sqrt(others) - np.sqrt(proposal.mixture)).max(axis=1)
        assert apart.min() > 0.2


def test_a_proof_heeds_bounds_and_minds_no_constraints() -> None:
    space = replace(make_space(4, FREE), served=("size2",), objective={"a": 1.0, "b": 0.0})
    _, frame = with_metrics(space, reversed_sizes(space, 0), {"b": 1.0, "a": 1.0})
    bounded = MixtureSpace.from_bounds(space.mixtures.domains, {"d0": (0.1, 0.4)})
    policy = Admire(PolicySettings(), constraints=[Constraint("b", at_least=0.1, probability=0.9)])
    proposal = propose(replace(space, mixtures=bounded), frame, policy, 0)
    assert proposal.phase == "proof" and bounded.contains(proposal.mixture)
