from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.optimizer import Proposal, Space, make_policy, propose
from tests.optimizer.tables import make_frame, make_space


def run_design(space: Space, policy: str, number: int, seed: int = 0) -> list[Proposal]:
    chosen = make_policy(policy)
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


def test_the_design_spreads_over_sizes_and_repeats_mixtures() -> None:
    space = make_space(4)
    made = run_design(space, "admire", 6)
    assert [p.fidelity[-1] for p in made] == ["0", "0", "2", "0", "1", "0"]
    assert {p.phase for p in made} == {"design"}
    np.testing.assert_array_equal(made[0].mixture, space.mixtures.uniform())
    np.testing.assert_array_equal(made[2].mixture, made[0].mixture)
    np.testing.assert_array_equal(made[4].mixture, made[1].mixture)
    assert made[4].cost == space.fidelities[1].cost


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


def test_seven_sizes_each_repeat_a_mixture_of_the_smallest() -> None:
    space = make_space(4, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0))
    made = run_design(space, "admire", 9)
    assert {p.fidelity for p in made} == {f"size{i}" for i in range(7)}
    tried: set[tuple[float, ...]] = set()
    for proposal in made:
        if proposal.fidelity == "size0":
            tried.add(tuple(proposal.mixture))
        assert tuple(proposal.mixture) in tried


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


def test_target_only_design_stays_at_the_target() -> None:
    space = make_space(4)
    made = run_design(space, "admire-bo", 6)
    assert {p.fidelity for p in made} == {space.target.name}
    assert len({tuple(p.mixture.round(6)) for p in made}) == 6
