"""Constraints on metrics: how a search heeds them, and what is recommended under them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.acquisition import AcquisitionFunction
from scipy.stats import norm

from admire_pipeline.optimizer import (
    POLICIES,
    PolicySettings,
    Space,
    Trials,
    make_policy,
    propose,
    recommend,
)
from admire_pipeline.optimizer.batch import best_batch
from admire_pipeline.optimizer.bayesian import Admire, AdmireTarget
from admire_pipeline.optimizer.belief import Belief
from admire_pipeline.optimizer.constrained import ConstrainedBelief, _Priced
from admire_pipeline.optimizer.constraints import Constraint
from admire_pipeline.optimizer.design import Rules
from admire_pipeline.optimizer.feasibility import FittedConstraint, fit_constraints
from admire_pipeline.optimizer.fitting import SurrogateSettings, fit
from admire_pipeline.optimizer.search import candidates
from admire_pipeline.optimizer.surrogate import Moments, Surrogate
from tests.optimizer.tables import hill, make_frame, make_pools, make_space

SEARCH = PolicySettings(design_trials=1)
ONE_DRAW = SurrogateSettings(averaged=False)
SPACE = replace(make_space(3, (0.1, 1.0)), objective={"hill": 1.0, "last": 0.0})
POINTS = SPACE.mixtures.spread(30, np.random.default_rng(0))
# The best hill has a sixth of the last domain, half of the first; `last` is the weight of the last.
BEST = np.array([3, 2, 1]) / 6
BOUND = Constraint("last", at_least=0.4)
# 64 normal draws and their opposites find a gain to about this.
TOLERANCE = 0.1


def trials_frame(fidelities: list[int], seed: int = 0, noise: float = 0.01) -> pd.DataFrame:
    """Trials of ``hill``, with a metric in conflict with it that the score has no part of."""
    rng = np.random.default_rng(seed)
    mixtures = SPACE.mixtures.spread(len(fidelities), rng)
    scores = hill(mixtures) + 0.005 * rng.normal(size=len(fidelities))
    frame = make_frame(SPACE, mixtures, fidelities, scores.tolist())
    frame["metric.hill"] = scores
    frame["metric.last"] = mixtures[:, 2] + noise * rng.normal(size=len(fidelities))
    return frame


FRAME = trials_frame([0] * 4 + [1] * 10)
SEEN = Trials.from_frame(SPACE, FRAME)


def belief(*constraints: Constraint, settings: SurrogateSettings = ONE_DRAW) -> ConstrainedBelief:
    surrogate = fit(SPACE, SEEN, settings)
    return ConstrainedBelief(surrogate, fit_constraints(SPACE, SEEN, constraints, settings))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "constraints.acc: at_least None, at_most None; allowed: exactly one of the two"),
        ({"at_least": math.nan}, "constraints.acc: at_least nan"),
        ({"at_most": math.inf}, "at_most inf; allowed: exactly one of the two, a finite number"),
        ({"at_least": 2.0, "at_most": 3.0}, "at_least 2.0, at_most 3.0; allowed: exactly one"),
        ({"at_most": 1.0, "probability": 1.0}, "constraints.acc.probability: 1.0; allowed: more"),
        ({"at_most": 1.0, "probability": 0.0}, "less than 1"),
    ],
)
def test_what_is_not_a_bound(numbers: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Constraint("acc", **numbers)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"admire", "admire-target"}))
def test_policies_that_do_not_heed_bounds_say_so(name: str) -> None:
    with pytest.raises(ValueError, match=f"policy: '{name}' does not heed .*'last'.*admire-target"):
        make_policy(name, constraints=[BOUND])


def test_what_a_space_cannot_have_is_said_before_the_first_trial() -> None:
    policy = make_policy(constraints=[BOUND])
    with pytest.raises(ValueError, match="constraints: not in pools"):
        propose(make_pools(SPACE, (5, 5)), pd.DataFrame(), policy, 0)
    with pytest.raises(ValueError, match=r"constraints: metric 'last' .* Space\.objective"):
        propose(replace(SPACE, objective={}), pd.DataFrame(), policy, 0)
    with pytest.raises(ValueError, match="constraints: metric 'last'"):
        recommend(replace(SPACE, objective={"hill": 1.0}), FRAME, policy, 0)


def test_the_margin_has_the_probability() -> None:
    constraint = Constraint("last", at_most=1.0, probability=0.975)
    assert constraint.margin == pytest.approx(norm.ppf(0.975))


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (Constraint("last", at_least=0.4), lambda mean, sd: norm.sf(0.4, mean, sd)),
        (Constraint("last", at_most=0.4), lambda mean, sd: norm.cdf(0.4, mean, sd)),
    ],
)
def test_how_likely_a_bound_is_kept(
    constraint: Constraint, expected: Callable[[float, float], float]
) -> None:
    """By the prediction of the metric that the recommendation tells of too."""
    now = belief(constraint)
    for mixture in POINTS[:5]:
        mean, deviation = now.recommendation(mixture, None).metrics["last"]
        assert abs(mean - mixture[2]) < 0.1
        margin = now.constraints[0].margins(torch.from_numpy(mixture[None])).item()
        assert norm.cdf(margin) == pytest.approx(expected(mean, deviation))
        assert constraint.likelihood(mean, deviation) == pytest.approx(expected(mean, deviation))


def test_without_a_deviation_it_is_kept_or_not() -> None:
    assert [BOUND.likelihood(mean, 0.0) for mean in (0.3, 0.4, 0.5)] == [0, 1, 1]


@pytest.mark.parametrize("name", ["admire", "admire-target"])
@pytest.mark.parametrize(
    "constraint", [BOUND, Constraint("last", at_most=0.05), replace(BOUND, probability=0.99)]
)
def test_the_best_mixture_within_the_bounds_is_recommended(
    name: str, constraint: Constraint
) -> None:
    # With caution it would lie nearer to what was tried.
    policy = {"admire": Admire, "admire-target": AdmireTarget}[name](
        SEARCH, rules=Rules(caution=0.0), constraints=[constraint]
    )
    found = recommend(SPACE, FRAME, policy, 0)
    assert found is not None
    last = found.mixture[2]
    assert constraint.sign * (last - constraint.bound) >= 0
    assert constraint.likelihood(*found.metrics["last"]) >= constraint.probability
    # No further within than certainty takes, and otherwise the best: 3 to 2 of the first two.
    assert abs(last - constraint.bound) < 0.1
    assert found.mixture[0] / found.mixture[:2].sum() == pytest.approx(0.6, abs=0.15)


def test_the_likelier_it_is_to_be_the_further_within() -> None:
    lasts = []
    for probability in (0.5, 0.9, 0.999):
        policy = make_policy(constraints=[replace(BOUND, probability=probability)])
        found = recommend(SPACE, FRAME, policy, 0)
        assert found is not None
        lasts.append(found.mixture[2])
    assert lasts == sorted(lasts)
    assert lasts[-1] > lasts[0] + 0.01


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.05), (1, 0.2), (2, 0.1), (3, 0.2), (5, 0.3)])
def test_where_any_mixture_is_sure_enough_the_recommended_one_is(seed: int, noise: float) -> None:
    """However noisy the metric: a climb may end short of the bound, but not all mixtures are."""
    frame = trials_frame([0] * 2 + [1] * 12, seed=seed, noise=noise)
    found = recommend(SPACE, frame, make_policy(constraints=[BOUND]), 0)
    assert found is not None
    seen = Trials.from_frame(SPACE, frame)
    (fitted,) = fit_constraints(SPACE, seen, [BOUND], SurrogateSettings())
    mixtures = torch.from_numpy(SPACE.mixtures.sample(1000, np.random.default_rng(0)))
    if (fitted.margins(mixtures) >= BOUND.margin).any():
        assert BOUND.likelihood(*found.metrics["last"]) >= BOUND.probability


@pytest.mark.parametrize("seed", range(4))
def test_a_bound_that_all_mixtures_keep_changes_nothing(seed: int) -> None:
    frame = trials_frame([0] * 4 + [1] * 6, seed=seed)
    slack = [Constraint("last", at_least=-9.0)]
    free, bound = make_policy("admire", SEARCH), make_policy("admire", SEARCH, slack)
    first, second = recommend(SPACE, frame, free, 0), recommend(SPACE, frame, bound, 0)
    assert first is not None and second is not None
    assert first.score_mean == pytest.approx(second.score_mean, abs=1e-3)
    one, other = propose(SPACE, frame, free, 0), propose(SPACE, frame, bound, 0)
    assert one.fidelity == other.fidelity
    # The climbs start from a few more mixtures.
    assert other.acquisition_value == pytest.approx(one.acquisition_value, rel=0.1)


@pytest.mark.parametrize("settings", [ONE_DRAW, SurrogateSettings()])
@pytest.mark.parametrize("fidelity", [0, 1])
def test_where_all_options_are_feasible_it_is_the_knowledge_gradient(
    fidelity: int, settings: SurrogateSettings
) -> None:
    slack = belief(Constraint("last", at_least=-9.0), settings=settings).gains(POINTS)(fidelity)
    free = Belief(fit(SPACE, SEEN, settings)).gains(POINTS)(fidelity)
    at = torch.from_numpy(POINTS)
    torch.testing.assert_close(slack(at.unsqueeze(-2)), free(at.unsqueeze(-2)))
    for count in (1, 2, 7):
        assert slack.per_trial(at[:count]) == pytest.approx(free.per_trial(at[:count]))
    assert best_batch(slack, POINTS, 8) == pytest.approx(best_batch(free, POINTS, 8))


def test_late_in_a_campaign_there_is_still_something_to_gain() -> None:
    frame = trials_frame([1] * 40, seed=1)
    seen = Trials.from_frame(SPACE, frame)
    fitted = fit_constraints(SPACE, seen, [BOUND], SurrogateSettings())
    now = ConstrainedBelief(fit(SPACE, seen, SurrogateSettings()), fitted)
    points = now.climb(SPACE.mixtures, POINTS, 0.0).mixtures
    near = candidates(SPACE.mixtures, points[:3], 60, np.random.default_rng(0))
    gains = now.gains(near)(1)(torch.from_numpy(near).unsqueeze(-2))
    assert (gains > 0).double().mean() > 0.5


def test_where_no_mixture_is_sure_enough_the_likelier_ones_count_more() -> None:
    """Beyond what any mixture has, the recommendation goes towards the bound all the same."""
    far = recommend(SPACE, FRAME, make_policy(constraints=[Constraint("last", 1.05)]), 0)
    assert far is not None
    assert far.mixture[2] > 0.8


def test_a_metric_that_no_trial_has_leaves_the_score_to_decide() -> None:
    frame = FRAME.drop(columns="metric.last")
    free = recommend(SPACE, frame, make_policy(), 0)
    bound = recommend(SPACE, frame, make_policy(constraints=[BOUND]), 0)
    assert free is not None and bound is not None
    assert free.score_mean == pytest.approx(bound.score_mean, abs=0.01)
    assert "last" not in bound.metrics
    proposal = propose(SPACE, frame, make_policy(constraints=[BOUND]), 0)
    assert SPACE.mixtures.contains(proposal.mixture)


@pytest.mark.parametrize("fidelity", [0, 1])
@pytest.mark.parametrize("count", [1, 4])
def test_gain_equals_monte_carlo(fidelity: int, count: int) -> None:
    """Draw the trials' scores and metrics, condition on them, and look at the best option."""
    few = Trials.from_frame(SPACE, trials_frame([0] * 2 + [1] * 4, seed=1, noise=0.2))
    bound = Constraint("last", at_least=0.5)
    (fitted,) = fit_constraints(SPACE, few, [bound], ONE_DRAW)
    now = ConstrainedBelief(fit(SPACE, few, ONE_DRAW), (fitted,))
    gain = now.gains(POINTS)(fidelity)
    options = gain.options
    singles = gain(torch.from_numpy(POINTS).unsqueeze(-2)).detach().numpy()
    mixtures = torch.from_numpy(POINTS[np.argsort(-singles)[:count]])
    rng = np.random.default_rng(0)

    def shifts(model: Surrogate, of: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Changes of the options' means, draws x t, and the variances that the trials remove."""
        trial = model.moments(mixtures, fidelity)
        inner = model.covariance(trial, trial).numpy() + model.noise(fidelity) * np.eye(count)
        cross = model.covariance(of, trial).numpy().T
        slopes = np.linalg.solve(inner, cross)
        drawn = rng.multivariate_normal(np.zeros(count), inner, 40_000)
        return drawn @ slopes, (cross * slopes).sum(axis=0)

    metric = fitted.surrogate
    at = metric.moments(options.mixtures, metric.target)
    change, told = shifts(metric, at)
    left = np.sqrt(metric.variance(at).numpy() - told)
    probability = norm.cdf((at.mean.numpy() + change - 0.5) / left)
    means = options.moments.mean.numpy()
    scores = means + shifts(now.surrogate, options.moments)[0]
    # An option that does not keep the bound is worth what the worst of all mixtures scores.
    low = now.surrogate.predict(POINTS)[0].min()
    best = (low + probability * (scores - low)).max(axis=1)
    expected = best.mean() - options.values.max().item()
    assert expected > 20 * best.std() / 200
    if count == 1:
        assert singles.max() == pytest.approx(expected, rel=TOLERANCE)
    # Of four trials the first 1, 2 or 4, whichever bring most each.
    rates = [gain.per_trial(mixtures[:number]) for number in range(1, count + 1)]
    assert rates[0] == pytest.approx(singles.max())
    assert gain.per_trial(mixtures) == pytest.approx(
        max(expected / count, *rates[:2]), rel=TOLERANCE
    )


def test_a_trial_that_tells_of_the_bound_alone_has_a_gain() -> None:
    """The score is known as well as it can be, the metric is not: it is worth a trial."""
    now = belief(Constraint("last", at_least=0.5))
    known = replace(
        now.surrogate,
        parts=tuple(replace(p, variance=1e-12 * p.variance) for p in now.surrogate.parts),
    )
    blind = Belief(known)
    heeding = ConstrainedBelief(known, now.constraints)
    at = torch.from_numpy(POINTS).unsqueeze(-2)
    without = blind.gains(POINTS)(1)(at).max().item()
    assert heeding.gains(POINTS)(1)(at).max().item() > 100 * without


@pytest.mark.parametrize("fidelity", [None, 0, 1])
def test_slopes_equal_finite_differences(fidelity: int | None) -> None:
    now = belief(BOUND, settings=SurrogateSettings())
    function: AcquisitionFunction = _Priced(now.surrogate, now.constraints, 0.5, 3.0)
    if fidelity is not None:
        function = now.gains(POINTS)(fidelity)
    step = 1e-6
    for mixture in torch.from_numpy(POINTS[:4]):
        at = mixture[None, None].clone().requires_grad_()
        function(at).sum().backward()
        moves = step * torch.eye(3, dtype=at.dtype)
        expected = [
            (function(at + move) - function(at - move)).item() / (2 * step) for move in moves
        ]
        torch.testing.assert_close(
            at.grad.squeeze(), torch.tensor(expected, dtype=at.dtype), rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_trials_without_scores_are_conditioned_on_for_the_metrics_too(status: str) -> None:
    now = belief(BOUND)
    frame = make_frame(SPACE, POINTS[:3], [1] * 3, [0.0] * 3, pending=[0, 1, 2])
    frame["status"] = status
    after = now.believe(Trials.from_frame(SPACE, frame))

    def deviation(of: ConstrainedBelief) -> float:
        fitted: FittedConstraint = of.constraints[0]
        return float(fitted.surrogate.predict(POINTS[:1])[1][0])

    assert deviation(after) < 0.9 * deviation(now)


def test_of_two_bounds_both_are_kept() -> None:
    """One of them on the score itself."""
    best = hill(np.array([[0.36, 0.24, 0.4]]))[0]
    both = [BOUND, Constraint("hill", at_least=best - 0.05, probability=0.6)]
    found = recommend(SPACE, FRAME, make_policy(constraints=both), 0)
    assert found is not None
    for constraint in both:
        assert constraint.likelihood(*found.metrics[constraint.metric]) >= constraint.probability


def test_a_metric_that_no_trial_has_leaves_the_other_bound_to_be_kept() -> None:
    space = replace(SPACE, objective={**SPACE.objective, "absent": 0.0})
    both = [Constraint("absent", at_least=1.0), BOUND]
    found = recommend(space, FRAME, make_policy(constraints=both), 0)
    alone = recommend(SPACE, FRAME, make_policy(constraints=[BOUND]), 0)
    assert found is not None and alone is not None
    np.testing.assert_array_equal(found.mixture, alone.mixture)


@pytest.mark.parametrize("name", ["admire", "admire-target"])
def test_the_cautious_recommendation_keeps_the_bound_too(name: str) -> None:
    found = recommend(SPACE, FRAME, make_policy(name, SEARCH, [BOUND]), 0)
    assert found is not None
    assert BOUND.likelihood(*found.metrics["last"]) >= BOUND.probability
    now = belief(BOUND)
    worth, means = now.values(POINTS, 0.5), now.values(POINTS, 0.0)
    kept = np.isfinite(means)
    assert 0 < kept.sum() < len(POINTS)
    deviations = now.surrogate.predict(POINTS)[1]
    np.testing.assert_allclose(worth[kept], (means - 0.5 * deviations)[kept])
    assert (worth[~kept] == -np.inf).all()


def test_up_to_the_sixth_trial_a_tried_mixture_is_recommended_the_feasible_one() -> None:
    mixtures = np.array([BEST, [0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
    frame = make_frame(SPACE, mixtures, [1] * 4, hill(mixtures).tolist())
    frame["metric.hill"], frame["metric.last"] = frame["score"], mixtures[:, 2]
    half = replace(BOUND, probability=0.5)
    found = recommend(SPACE, frame, make_policy(constraints=[half]), 0)
    assert found is not None
    assert found.trial == "t1"


def campaign(space: Space, seed: int, constraints: list[Constraint]) -> np.ndarray:
    """Spend 10 trainings of the target and return what is recommended."""
    policy = make_policy(constraints=constraints)
    rng = np.random.default_rng(seed)
    names = [fidelity.name for fidelity in space.fidelities]
    frame = pd.DataFrame()
    cost = 0.0
    while True:
        proposal = propose(space, frame, policy, seed)
        cost += proposal.cost
        if cost > 10:
            break
        score = hill(proposal.mixture[None])[0] + 0.01 * rng.normal()
        one = make_frame(space, proposal.mixture[None], [names.index(proposal.fidelity)], [score])
        one["trial"] = f"t{len(frame)}"
        one["metric.hill"] = score
        one["metric.last"] = proposal.mixture[2] + 0.02 * rng.normal()
        frame = pd.concat([frame, one], ignore_index=True)
    found = recommend(space, frame, policy, seed)
    assert found is not None
    return found.mixture


@pytest.mark.slow
def test_a_campaign_finds_the_best_mixture_within_the_bounds() -> None:
    found = campaign(SPACE, 0, [BOUND])
    assert 0.4 <= found[2] < 0.5
    best = np.array([0.36, 0.24, 0.4])
    assert hill(found[None])[0] > hill(best[None])[0] - 0.02
    assert campaign(SPACE, 0, [])[2] < 0.3
