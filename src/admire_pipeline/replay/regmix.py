"""RegMix (Liu et al. 2024, "RegMix: Data Mixture as Regression"): gradient boosting on small runs.

Settings are those of its repository (github.com/sail-sg/regmix, ``regression_fitting``).
"""

from __future__ import annotations

import numpy as np

from admire_pipeline.errors import UserError
from admire_pipeline.optimizer import Policy, Proposal, Recommendation, Space, Trials
from admire_pipeline.optimizer.policy import NothingToPropose, trial_rng
from admire_pipeline.optimizer.pool import find_trial, untried
from admire_pipeline.replay.baselines import nearest

_PARAMETERS = {
    "boosting": "gbdt",
    "objective": "regression",
    "metric": ["l1", "l2"],  # the fit stops at whichever stalls first
    "learning_rate": 1e-2,
    "seed": 42,
    "verbosity": -1,
    # Not RegMix's: replays share the processor with each other.
    "num_threads": 1,
}
_ROUNDS = 1000
_PATIENCE = 3
# One of so many trials is held out to stop the fit early (RegMix: 128 of 1,000 runs).
_HELD_OUT = 8
_SIMULATED = 100_000
_AVERAGED = 128


class RegMix(Policy):
    """Random runs of the smallest size, LightGBM on their scores, the best predicted mixture.

    The score is regressed on raw weights; the first eighth of the trials (their order is random)
    is held out for early stopping. Of a pool the best predicted mixture is recommended. On the
    simplex RegMix simulates 100,000 mixtures from a Dirichlet distribution about the corpus's own
    token shares and averages the 128 best predicted; those shares are no part of a problem, so
    equal ones take their place. Below about 45 trials LightGBM's least leaf (20 trials) leaves no
    split and all predictions are equal: then the mixture nearest to the best one observed is
    recommended.
    """

    name = "regmix"

    def propose(self, space: Space, trials: Trials, seed: int) -> Proposal:
        """Draw the next mixture at the smallest size."""
        rng = trial_rng(seed, trials)
        if space.pools:
            left = untried(space, trials, 0)
            if not len(left):
                raise NothingToPropose("every mixture of the smallest size's pool was tried")
            mixture = left[rng.integers(len(left))]
        else:
            mixture = space.mixtures.spread(1, rng)[0]
        return self._proposal(space, mixture, 0, phase="design")

    def recommend(self, space: Space, trials: Trials, seed: int) -> Recommendation | None:
        """Return the best predicted mixture; its score is predicted for the smallest size."""
        seen = trials.where(trials.observed & (trials.fidelities == 0))
        if not len(seen):
            return None
        options = space.pools[-1] if space.pools else _simulate(space, trial_rng(seed, trials))
        predicted = _predict(seen, options)
        if np.ptp(predicted) == 0:
            best = int(np.argmax(seen.scores))
            mixture, score = nearest(space, seen.mixtures[best]), float(seen.scores[best])
        elif space.pools:
            best = int(np.argmax(predicted))
            mixture, score = options[best], float(predicted[best])
        else:
            top = np.argsort(-predicted, kind="stable")[:_AVERAGED]
            mixture = space.mixtures.project(options[top].mean(axis=0))
            score = float(predicted[top].mean())
        return Recommendation(mixture, score, float("nan"), find_trial(trials, mixture))


def _predict(seen: Trials, options: np.ndarray) -> np.ndarray:
    """Fit LightGBM to observed trials and predict the scores (``n``) of mixtures (``n x K``)."""
    try:
        import lightgbm
    except ImportError:
        raise UserError(
            "policy regmix: needs LightGBM: pip install 'admire-pipeline[benchmark]'"
        ) from None
    held = len(seen) // _HELD_OUT
    # LightGBM's histograms work in single precision; a score far from 0 would lose its digits.
    location, scale = seen.scores.mean(), seen.scores.std() or 1.0
    scores = (seen.scores - location) / scale
    train = lightgbm.Dataset(seen.mixtures[held:], scores[held:])
    model = lightgbm.train(
        _PARAMETERS,
        train,
        num_boost_round=_ROUNDS,
        valid_sets=[train.create_valid(seen.mixtures[:held], scores[:held])] if held else None,
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)] if held else None,
    )
    return np.asarray(location + scale * np.asarray(model.predict(options)))


def _simulate(space: Space, rng: np.random.Generator) -> np.ndarray:
    """Draw feasible mixtures (``n x K``), Dirichlet distributed with concentrations 1 / K."""
    lower, upper = space.mixtures.lower, space.mixtures.upper
    shares = rng.dirichlet(np.full(len(lower), 1 / len(lower)), size=_SIMULATED)
    mixtures = lower + max(0.0, 1 - float(lower.sum())) * shares
    mixtures = mixtures[np.all(mixtures <= upper, axis=1)]
    if len(mixtures) < _AVERAGED:
        # Narrow upper bounds leave hardly any of them.
        mixtures = space.mixtures.sample(10 * _AVERAGED, rng)
    return mixtures
