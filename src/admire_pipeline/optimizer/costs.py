"""What a trial costs at each fidelity, learned from the seconds that trials have taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

PRESET_SD = 0.5
"""Prior standard deviation of a preset's error, in log: it may be wrong by a factor of 1.6."""
TRIAL_SD = 0.2
"""Scale of a trial's own deviation, in log seconds: a busy disk, a neighbour on the same cores."""
FREEDOM = 3.0
"""Degrees of freedom of that deviation: some trials deviate wildly, as one that slept overnight."""
ROUNDS = 500
"""Most reweightings; a dozen do unless presets and seconds disagree by orders of magnitude."""


def learn_costs(
    configured: Mapping[str, float], seconds: Sequence[tuple[str, float]]
) -> dict[str, float]:
    """Cost of one trial at each fidelity, in the unit of `configured`.

    Trial j at fidelity f takes log t_j = log s + log c_f + d_f + e_j: s seconds buy a unit of
    cost, c_f is configured, d_f ~ N(0, PRESET_SD²) is its error, log s is flat. With e_j Gaussian
    of precision p_j, let r_j = log t_j - log c_f, P_f the sum of the p_j at f and m_f their mean
    weighted r_j. Then m_f ~ N(log s, PRESET_SD² + 1 / P_f) once d_f is integrated out, so that the
    posterior means are

        log s = Σ_f w_f m_f / Σ_f w_f,   w_f = 1 / (PRESET_SD² + 1 / P_f)
        d_f   = (m_f - log s) PRESET_SD² w_f

    and d_f = 0 where nothing was measured. One fidelity alone gives m_f = log s: only s is learned.

    The e_j are Student's, a scale mixture of Gaussians: p_j = (FREEDOM + 1) / (FREEDOM + (e_j /
    TRIAL_SD)²) / TRIAL_SD² given e_j, in turn with the above until it settles (EM; Lange, Little
    and Taylor, Robust statistical modeling using the t distribution, JASA 84, 1989, eq. 4-6). A
    median would be simpler, but it needs three trials to tell which one slept; here the preset has
    a say, so two are enough.

    The target keeps its configured cost, which is what the unit means, and no other fidelity
    exceeds it.

    Args:
        configured: Cost of each fidelity, greater than 0; the last one is the target.
        seconds: Fidelity and seconds, greater than 0, of each trial that was trained and evaluated.

    Returns:
        The costs, in the order of `configured`; as configured where nothing was measured.
    """
    names = list(configured)
    preset = np.log([configured[name] for name in names])
    # In a fixed order: sums of floats must not depend on which trial came first.
    measured = sorted((names.index(name), math.log(value)) for name, value in seconds)
    at = np.array([index for index, _ in measured], dtype=int)
    rates = np.array([value for _, value in measured]) - preset[at]
    errors = _preset_errors(at, rates, len(names))
    target = configured[names[-1]]
    factors = np.exp(errors - errors[-1])
    return {
        name: min(target, configured[name] * float(factor))
        for name, factor in zip(names, factors, strict=True)
    }


def _preset_errors(at: np.ndarray, rates: np.ndarray, count: int) -> np.ndarray:
    """The d_f, `count`, from the r_j (`n`) and the fidelities `at` (`n`) which they were found."""
    errors = np.zeros(count)
    if not len(rates):
        return errors
    seen = np.unique(at)
    level = float(np.median(rates))
    for _ in range(ROUNDS):
        deviation = (rates - level - errors[at]) / TRIAL_SD
        precision = (FREEDOM + 1) / (FREEDOM + deviation**2) / TRIAL_SD**2
        total = np.bincount(at, precision, count)[seen]
        mean = np.bincount(at, precision * rates, count)[seen] / total
        weight = 1 / (PRESET_SD**2 + 1 / total)
        level = float(weight @ mean / weight.sum())
        before, errors[seen] = errors[seen], (mean - level) * PRESET_SD**2 * weight
        if np.abs(errors[seen] - before).max() < 1e-9:
            break
    return errors
