"""Whatever the history: a proposal and a recommendation come, feasible and without a warning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import (
    Fidelity,
    PolicySettings,
    Space,
    make_policy,
    propose,
    recommend,
)
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.policy import NothingToPropose

POLICIES = ["admire", "admire-target"]


@dataclass(frozen=True)
class Case:
    """A campaign so far."""

    space: Space
    frame: pd.DataFrame
    seed: int
    design: int | None


BOUNDS = ["none", "pinned", "narrow", "single"]


def bounds_of(kind: str, domains: int) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = np.zeros(domains), np.ones(domains)
    centre = np.arange(1.0, domains + 1)
    centre /= centre.sum()
    if kind == "pinned":
        # One weight has to be 0, another one is fixed.
        upper[0] = 0
        lower[1] = upper[1] = centre[1]
    elif kind == "narrow":
        lower, upper = np.maximum(centre - 1e-7, 0), centre + 1e-7
    elif kind == "single":
        lower = upper = centre
    return lower, upper


def mixtures_of(kinds: Sequence[str], space: Space, rng: np.random.Generator) -> np.ndarray:
    """Mixtures anywhere, also beyond bounds that were set later."""
    count = len(space.mixtures)
    made: list[np.ndarray] = []
    for kind in kinds:
        if kind == "corner":
            made.append(np.eye(count)[rng.integers(count)])
        elif kind == "again" and made:
            made.append(made[0])
        elif kind == "nearly" and made:
            near = np.maximum(made[0] + 1e-9 * rng.normal(size=count), 0)
            made.append(near / near.sum())
        elif kind == "face":
            weights = rng.dirichlet(np.ones(count)) * (rng.random(count) < 0.5)
            made.append(weights / weights.sum() if weights.sum() else np.eye(count)[0])
        elif kind == "feasible":
            made.append(space.mixtures.sample(1, rng)[0])
        else:
            made.append(rng.dirichlet(np.ones(count)))
    return np.array(made).reshape(-1, count)


MIXTURES = ["any", "corner", "again", "nearly", "face", "feasible"]


@st.composite
def cases(draw: st.DrawFn, domains: st.SearchStrategy[int], most: int = 12) -> Case:
    count = draw(domains)
    costs = draw(st.lists(st.sampled_from([1e-3, 0.02, 0.3, 1.0, 40.0]), min_size=1, max_size=7))
    fidelities = tuple(Fidelity(f"size{i}", cost) for i, cost in enumerate(costs))
    kind = draw(st.sampled_from(BOUNDS))
    space = Space(
        MixtureSpace(tuple(f"d{i}" for i in range(count)), *bounds_of(kind, count)), fidelities
    )
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    trials = draw(st.integers(1, most))
    kinds = draw(st.lists(st.sampled_from(MIXTURES), min_size=trials, max_size=trials))
    mixtures = mixtures_of(kinds, space, rng)
    # Some fidelities are never seen.
    known = draw(st.lists(st.integers(0, len(costs) - 1), min_size=1, max_size=len(costs)))
    where = rng.choice(known, size=trials)
    likely = draw(st.sampled_from([(1.0, 0.0, 0.0), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2)]))
    status = rng.choice(["observed", "pending", "failed"], size=trials, p=likely)
    names = [f"m{i}" for i in range(draw(st.integers(0, 3)))]
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    values = rng.normal(size=(trials, max(len(names), 1)))
    shape = draw(st.sampled_from(["varied", "constant", "zero", "offset", "one outlier"]))
    if shape in ("constant", "zero"):
        values[:] = 1.0 * (shape == "constant")
    elif shape == "offset":
        values += 1e6
    elif shape == "one outlier":
        values[0] += 1e5
    values *= scale
    if names and draw(st.booleans()):
        values[:, 0] = scale
    score = values.sum(axis=1)
    if names and draw(st.booleans()):
        values[rng.random(values.shape) < 0.3] = np.nan
    errors = [np.nan, -1.0, 0.0, 0.1, 1e9]
    error = draw(st.sampled_from(errors))
    told = draw(st.booleans())  # metrics have errors too, of any size
    frame = pd.DataFrame(
        {
            "trial": [f"t{i}" for i in range(trials)],
            "fidelity": [fidelities[i].name for i in where],
            "status": status,
            "score": np.where(status == "observed", score, np.nan),
            "score_se": error,
        }
    )
    for k in range(count):
        frame[f"mixture.d{k}"] = mixtures[:, k]
    for k, name in enumerate(names):
        frame[f"metric.{name}"] = values[:, k]
        if told:
            frame[f"metric_se.{name}"] = rng.choice(errors, size=trials)
    objective = {name: 1.0 for name in names}
    return Case(
        replace(space, objective=objective), frame, seed, draw(st.sampled_from([1, 6, None]))
    )


def check(case: Case, name: str, constraints: Sequence[Constraint] = ()) -> None:
    space = case.space
    policy = make_policy(name, PolicySettings(design_trials=case.design), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            proposal = propose(space, case.frame, policy, case.seed)
        except NothingToPropose:
            assert space.pools
            proposal = None
        recommendation = recommend(space, case.frame, policy, case.seed)
    if proposal is not None:
        costs = {fidelity.name: fidelity.cost for fidelity in space.fidelities}
        assert proposal.cost == costs[proposal.fidelity]
        assert proposal.acquisition_value is None or proposal.acquisition_value >= 0
        if space.pools:
            fidelity = list(costs).index(proposal.fidelity)
            assert proposal.mixture.tobytes() in {row.tobytes() for row in space.pools[fidelity]}
            columns = [f"mixture.{domain}" for domain in space.mixtures.domains]
            tried = case.frame[case.frame["fidelity"] == proposal.fidelity][columns].to_numpy()
            assert proposal.mixture.tobytes() not in {row.tobytes() for row in tried}
        else:
            assert space.mixtures.contains(proposal.mixture)
            assert abs(proposal.mixture.sum() - 1) < 1e-12
    usable = case.frame["status"] == "observed"
    if name == "admire-target":
        usable &= case.frame["fidelity"] == space.fidelities[-1].name
    assert (recommendation is not None) == usable.any()
    if recommendation is not None:
        assert np.isfinite(recommendation.score_mean)
        assert recommendation.score_sd >= 0
        if space.pools:
            assert recommendation.mixture.tobytes() in {row.tobytes() for row in space.pools[-1]}
        else:
            assert space.mixtures.contains(recommendation.mixture)
            assert abs(recommendation.mixture.sum() - 1) < 1e-12


def pooled(case: Case) -> Case:
    """The same as a replay of finished runs: the trials and a few more are in the pools."""
    space = case.space
    rng = np.random.default_rng(case.seed)
    columns = [f"mixture.{domain}" for domain in space.mixtures.domains]
    pools = []
    for fidelity in space.fidelities:
        tried = case.frame[case.frame["fidelity"] == fidelity.name][columns].to_numpy()
        left = rng.integers(0, 4) if len(tried) else 2
        more = rng.dirichlet(np.ones(len(columns)), size=left)
        pools.append(np.unique(np.vstack([tried, more]), axis=0))
    free = MixtureSpace(space.mixtures.domains)
    return replace(case, space=replace(space, mixtures=free, pools=tuple(pools)))


RUN = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("name", POLICIES)
@settings(RUN, max_examples=30)
@given(case=cases(st.integers(3, 6)))
def test_on_the_simplex(name: str, case: Case) -> None:
    check(case, name)


def bounds_on_metrics(case: Case) -> list[Constraint]:
    """Bounds that all, some or none of the trials meet, on metrics that some of them lack."""
    rng = np.random.default_rng(case.seed)
    found = []
    for metric in case.space.objective:
        values = case.frame[f"metric.{metric}"].dropna()
        middle = float(rng.choice(values)) if len(values) else 0.0
        spread = float(rng.choice([0.0, 1e-6, 1.0, 1e6]))
        bound = float(rng.choice([middle, middle - spread, middle + spread]))
        side = str(rng.choice(["at_least", "at_most"]))
        probability = float(rng.choice([1e-6, 0.5, 0.999999]))
        found.append(Constraint(metric, **{side: bound}, probability=probability))
    return found


@pytest.mark.parametrize("name", POLICIES)
@settings(RUN, max_examples=30)
@given(case=cases(st.integers(3, 6)))
def test_with_constraints(name: str, case: Case) -> None:
    check(case, name, bounds_on_metrics(case))


@pytest.mark.parametrize("name", POLICIES)
@settings(RUN, max_examples=100)
@given(case=cases(st.integers(3, 50), most=25))
def test_in_pools(name: str, case: Case) -> None:
    check(pooled(case), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
@settings(RUN, max_examples=30)
@given(case=cases(st.sampled_from([7, 20, 50]), most=40))
def test_on_a_simplex_of_many_domains(name: str, case: Case) -> None:
    check(case, name)
