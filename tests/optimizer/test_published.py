"""The published policies against a direct transcription of the published recipe on BoTorch.

The transcription below follows the official scripts (arrays of what is left, one loop) and shares
no code with our classes. It differs from them only in what BoTorch has changed since its release
0.10, for which it sets the old behaviour, and in its random stream, which is that of our campaigns.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition import PosteriorMean
from botorch.acquisition.cost_aware import GenericCostAwareUtility
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.acquisition.logei import qLogExpectedImprovement
from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.utils.gpytorch_modules import get_gaussian_likelihood_with_gamma_prior
from botorch.optim.optimize import optimize_acqf_discrete
from gpytorch.mlls import ExactMarginalLogLikelihood

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Space, make_policy, propose, recommend
from admire_pipeline.optimizer.numerics import eager
from admire_pipeline.optimizer.policy import NothingToPropose
from admire_pipeline.optimizer.published_model import fit_model, predict
from tests.optimizer.tables import hill, hill_frame, make_frame, make_space

Table = list[tuple[np.ndarray, np.ndarray]]  # mixtures and scores of each fidelity


def made_up() -> tuple[Table, list[float]]:
    """Five domains, sizes of very different cost; the smallest one ranks mixtures its own way."""
    rng = np.random.default_rng(5)
    mixtures = [rng.dirichlet(np.ones(5), size=n) for n in (40, 30, 25)]
    tables = []
    for level, x in enumerate(mixtures):
        below = 2 - level
        score = hill(x) + 0.2 * below * x[:, 0] - 0.3 * below + 0.02 * rng.normal(size=len(x))
        tables.append((x, score))
    # 0.004 is below the cost that BoTorch 0.10 took for the least.
    return tables, [0.004, 0.3, 1.0]


def tulu() -> tuple[Table, list[float]]:
    """The Tulu table, read as the official code does, but with exact averages and sums."""
    folder = os.environ.get("ADMIRE_RUNS_DIR")
    if not folder or not (path := Path(folder) / "admire_ift_runs.csv").is_file():
        pytest.skip("needs the published tables: set ADMIRE_RUNS_DIR")
    frame = pd.read_csv(path)
    tables, times = [], []
    for name in ("Qwen2.5-0.5B", "Qwen2.5-3B", "Qwen2.5-7B"):
        rows = frame[frame["model"] == name]
        weights = rows.loc[:, rows.columns.str.startswith("ratio")].to_numpy()
        metrics = rows.loc[:, rows.columns.str.startswith("metric")].to_numpy()[:, :17]
        tables.append((weights / weights.sum(axis=1, keepdims=True), metrics.mean(axis=1)))
        times.append(rows["train_time"].mean())
    tables[-1] = (tables[-1][0][:60], tables[-1][1][:60])
    return tables, [time / times[-1] for time in times]


def fitted(train_x: torch.Tensor, train_y: torch.Tensor) -> SingleTaskMultiFidelityGP:
    model = SingleTaskMultiFidelityGP(
        train_x,
        train_y,
        data_fidelities=[train_x.shape[1] - 1],
        likelihood=get_gaussian_likelihood_with_gamma_prior(),
        outcome_transform=None,
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def transcribed_mfbo(
    tables: Table, costs: list[float], seed: int, steps: int
) -> tuple[list[list[float]], list[int]]:
    """Rows (weights and cost ratio) in the order tried, and rows recommended at the target."""
    blocks = [
        np.column_stack([x, np.full(len(x), c)]) for (x, _), c in zip(tables, costs, strict=True)
    ]
    left_x = torch.tensor(np.vstack(blocks))
    left_y = torch.tensor(np.concatenate([y for _, y in tables])).unsqueeze(1)
    high_x = torch.tensor(blocks[-1])
    column = left_x.shape[1] - 1
    utility = GenericCostAwareUtility(
        lambda X, deltas: deltas / X[..., -1].clamp(min=1e-2).sum(dim=-1)
    )
    first = np.random.default_rng([seed, 0]).integers(len(tables[0][0]))
    train_x, train_y = left_x[first : first + 1], left_y[first : first + 1]
    keep = torch.arange(len(left_x)) != first
    left_x, left_y = left_x[keep], left_y[keep]
    recommended = []
    for n in range(1, steps):
        torch.manual_seed(int(np.random.default_rng([seed, n]).integers(2**31)))
        acquisition = qMultiFidelityMaxValueEntropy(
            model=fitted(train_x, train_y),
            num_mv_samples=1,
            cost_aware_utility=utility,
            project=lambda X: project_to_target_fidelity(X, {column: 1.0}, column + 1),
            candidate_set=train_x,
        )
        best = torch.argmax(acquisition(left_x.unsqueeze(1))).item()
        recommended.append(torch.argmax(acquisition(high_x.unsqueeze(1))).item())
        train_x = torch.cat([train_x, left_x[best : best + 1]])
        train_y = torch.cat([train_y, left_y[best : best + 1]])
        keep = torch.arange(len(left_x)) != best
        left_x, left_y = left_x[keep], left_y[keep]
    return train_x.tolist(), recommended


def transcribed_bo(
    tables: Table, costs: list[float], seed: int, level: int, steps: int
) -> tuple[list[list[float]], list[int]]:
    """The same for expected improvement at one fidelity."""
    mixtures, scores = tables[level]
    left_x = torch.tensor(np.column_stack([mixtures, np.full(len(mixtures), costs[level])]))
    left_y = torch.tensor(scores).unsqueeze(1)
    high_x = torch.tensor(tables[-1][0])
    d = left_x.shape[1]
    first = np.random.default_rng([seed, 0]).integers(len(mixtures))
    train_x, train_y = left_x[first : first + 1], left_y[first : first + 1]
    keep = torch.arange(len(left_x)) != first
    left_x, left_y = left_x[keep], left_y[keep]
    recommended = []
    for n in range(1, min(steps, len(mixtures))):
        torch.manual_seed(int(np.random.default_rng([seed, n]).integers(2**31)))
        model = fitted(train_x, train_y)
        improvement = FixedFeatureAcquisitionFunction(
            qLogExpectedImprovement(model=model, best_f=train_y.max()), d, [d - 1], [costs[level]]
        )
        candidate, _ = optimize_acqf_discrete(improvement, q=1, choices=left_x[:, :-1])
        mean = FixedFeatureAcquisitionFunction(PosteriorMean(model), d, [d - 1], [1.0])
        recommended.append(torch.argmax(mean(high_x.unsqueeze(1))).item())
        best = torch.nonzero(torch.all(candidate == left_x[:, :-1], dim=1)).item()
        train_x = torch.cat([train_x, left_x[best : best + 1]])
        train_y = torch.cat([train_y, left_y[best : best + 1]])
        keep = torch.arange(len(left_x)) != best
        left_x, left_y = left_x[keep], left_y[keep]
    return train_x.tolist(), recommended


def pool_space(tables: Table, costs: list[float]) -> Space:
    fidelities = tuple(Fidelity(f"size{i}", cost) for i, cost in enumerate(costs))
    domains = tuple(f"d{i}" for i in range(tables[0][0].shape[1]))
    return Space(MixtureSpace(domains), fidelities, pools=tuple(x for x, _ in tables))


def replayed(
    name: str, tables: Table, costs: list[float], seed: int, steps: int
) -> tuple[list[list[float]], list[int]]:
    """What our policy does in a campaign on the table, in the transcription's terms."""
    space = pool_space(tables, costs)
    policy = make_policy(name)
    mixtures: list[np.ndarray] = []
    fidelities: list[int] = []
    scores: list[float] = []
    recommended = []
    for _ in range(steps):
        frame = pd.DataFrame()
        if scores:
            frame = make_frame(space, np.array(mixtures), fidelities, scores)
            recommendation = recommend(space, frame, policy, seed)
            assert recommendation is not None
            same = np.all(tables[-1][0] == recommendation.mixture, axis=1)
            recommended.append(int(np.flatnonzero(same)[0]))
        try:
            proposal = propose(space, frame, policy, seed)
        except NothingToPropose:
            break
        level = [fidelity.name for fidelity in space.fidelities].index(proposal.fidelity)
        row = np.flatnonzero(np.all(tables[level][0] == proposal.mixture, axis=1))[0]
        mixtures.append(proposal.mixture)
        fidelities.append(level)
        scores.append(float(tables[level][1][row]))
    rows = [[*mixture, costs[level]] for mixture, level in zip(mixtures, fidelities, strict=True)]
    return np.array(rows).tolist(), recommended


STEPS = 20
"""The costs of the made-up table show in the 19th."""


@pytest.mark.parametrize("table", [made_up, pytest.param(tulu, marks=pytest.mark.slow)])
def test_multifidelity_search_chooses_as_the_published_recipe(table) -> None:
    tables, costs = table()
    rows, recommended = replayed("admire-mfbo", tables, costs, 3, STEPS)
    assert (rows, recommended) == transcribed_mfbo(tables, costs, 3, STEPS)
    assert len(rows) == STEPS
    # Otherwise the comparison would not see what the costs do.
    assert table is tulu or len({row[-1] for row in rows}) > 1


# A few steps on the second table: one takes seconds.
@pytest.mark.parametrize(
    ("table", "steps"), [(made_up, STEPS), pytest.param(tulu, 6, marks=pytest.mark.slow)]
)
def test_single_fidelity_search_chooses_as_the_published_recipe(table, steps: int) -> None:
    tables, costs = table()
    rows, recommended = replayed("admire-bo", tables, costs, 3, steps)
    expected = transcribed_bo(tables, costs, 3, 2, steps)
    assert rows == expected[0]
    assert recommended[: len(expected[1])] == expected[1]
    assert len(rows) == min(steps, len(tables[-1][0]))


@pytest.mark.parametrize("name", ["admire-mfbo", "admire-bo"])
def test_a_used_policy_answers_as_a_new_one(name) -> None:
    tables, costs = made_up()
    space = pool_space(tables, costs)
    frames = [make_frame(space, tables[2][0][:n], [2] * n, tables[2][1][:n]) for n in (3, 4)]
    used = make_policy(name)
    answers = [propose(space, frame, used, seed=1) for frame in [*frames, frames[0]]]
    again = propose(space, frames[0], make_policy(name), seed=1)
    assert np.array_equal(answers[0].mixture, answers[2].mixture)
    assert np.array_equal(answers[0].mixture, again.mixture)
    assert answers[0].acquisition_value == answers[2].acquisition_value == again.acquisition_value


@pytest.mark.parametrize("name", ["admire-mfbo", "admire-bo"])
def test_pools_are_used_up_whatever_becomes_of_the_trials(name) -> None:
    (x0, _), (x1, _), (x2, y2) = made_up()[0]
    tables = [(x0[:3], np.zeros(3)), (x1[:1], np.zeros(1)), (x2[:4], y2[:4])]
    space = pool_space(tables, [0.1, 0.3, 1.0])
    policy = make_policy(name)
    mixtures, fidelities, statuses = np.empty((0, 5)), [], []
    while True:
        frame = make_frame(space, mixtures, fidelities, np.zeros(len(mixtures)).tolist())
        frame["status"] = statuses
        frame.loc[frame["status"] != "observed", "score"] = math.nan
        try:
            proposal = propose(space, frame, policy, seed=0)
        except NothingToPropose:
            break
        assert proposal.phase == ("search" if "observed" in statuses else "design")
        level = int(proposal.fidelity[-1])
        pool = {mixture.tobytes() for mixture in space.pools[level]}
        assert proposal.mixture.tobytes() in pool
        mixtures = np.vstack([mixtures, proposal.mixture])
        fidelities.append(level)
        statuses.append(("observed", "pending", "failed")[len(statuses) % 3])
        tried = {(level, m.tobytes()) for m, level in zip(mixtures, fidelities, strict=True)}
        assert len(tried) == len(mixtures)
    assert len(mixtures) == (8 if name == "admire-mfbo" else 4)


@pytest.mark.parametrize("name", ["admire-mfbo", "admire-bo"])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("scores", ["equal", "tiny", "huge", "one"])
def test_awkward_scores_do_not_raise(name, pooled, scores) -> None:
    tables, costs = made_up()
    space = pool_space(tables, costs) if pooled else make_space(5, costs)
    x = np.vstack([tables[2][0][:6], tables[2][0][:1]])
    y = np.append(tables[2][1][:6], tables[2][1][0])
    y = {"equal": np.ones(7), "tiny": 1e-6 * y, "huge": 1e6 * y, "one": y}[scores]
    count = 1 if scores == "one" else 7
    frame = make_frame(space, x[:count], [2] * count, y[:count].tolist())
    proposal = propose(space, frame, make_policy(name), seed=0)
    recommendation = recommend(space, frame, make_policy(name), seed=0)
    assert space.mixtures.contains(proposal.mixture)
    assert recommendation is not None
    assert space.mixtures.contains(recommendation.mixture)


def test_without_its_checks_gpytorch_fits_the_same() -> None:
    table, costs = made_up()
    space = pool_space(table, costs)
    inputs, scores = torch.from_numpy(table[0][0]), torch.from_numpy(table[0][1])
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    lazily = fit_model(inputs, scores)
    with eager():
        at_once = fit_model(inputs, scores)
    mixture = space.pools[-1][0]
    for one, other in zip(
        predict(space, lazily, mixture), predict(space, at_once, mixture), strict=True
    ):
        # The optimizer stops elsewhere within its own tolerance.
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize("name", ["admire-mfbo", "admire-bo"])
def test_without_pools_the_acquisition_is_climbed_over_the_simplex(name) -> None:
    space = make_space(4)
    frame = hill_frame(space, [0, 0, 1, 2, 2, 2, 0, 2], pending=[7])
    policy = make_policy(name)
    proposal = propose(space, frame, policy, seed=2)
    assert proposal.phase == "search"
    assert space.mixtures.contains(proposal.mixture)
    recommendation = recommend(space, frame, policy, seed=2)
    assert recommendation is not None
    assert space.mixtures.contains(recommendation.mixture)
    assert math.isfinite(recommendation.score_mean)
