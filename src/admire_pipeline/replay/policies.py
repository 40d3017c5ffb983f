"""Every policy that the benchmark can replay, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.optimizer import POLICIES, Fidelity, Policy, PolicySettings, make_policy

ZERO_SHOT = "zero-shot"
BASELINES = ("uniform", "regmix", ZERO_SHOT)
"""Names of the policies that only the benchmark knows; ``zero-shot`` stands for one a size."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "admire-raw-weights": {"surrogate": {"roots": False}},
    "admire-score-alone": {"surrogate": {"per_metric": False}},
    "admire-most-probable": {"surrogate": {"averaged": False}},
    "admire-one-noise": {"surrogate": {"noise_per_fidelity": False}},
    "admire-no-linear": {"surrogate": {"linear": False}},
    "admire-no-guard": {"surrogate": {"guard": False}},
    "admire-not-crossed": {"surrogate": {"crossed": False}},
    "admire-unguarded": {"surrogate": {"guard": False, "crossed": False}},
    "admire-single-trials": {"batches": False},
    "admire-short-design": {"settings": {"design_trials": 6}},
    "admire-one-proof": {"settings": {"proof_trials": 1}},
    "admire-no-proof": {"settings": {"proof_trials": 0}},
    "admire-no-credit": {"rules": {"credit": 0.0}},
    "admire-uneven": {"rules": {"even": False}},
    "admire-untied": {"rules": {"tied": False}},
    "admire-trusting": {"rules": {"trusted": 0}},
    "admire-unproven": {"rules": {"proof": False}},
    "admire-bold": {"rules": {"caution": 0.0}},
}
"""Our policy with one of its choices taken back each, by name (docs/optimizer.md)."""


def names(fidelities: Sequence[Fidelity]) -> list[str]:
    """Return the names of all policies for a ladder, those of ``optimizer.POLICIES`` first."""
    smaller = [f"{ZERO_SHOT}-{fidelity.name}" for fidelity in fidelities[:-1]]
    return [*POLICIES, *BASELINES[:-1], *smaller]


def expand(chosen: Iterable[str], fidelities: Sequence[Fidelity]) -> list[str]:
    """Resolve policy names as a user writes them.

    Args:
        chosen: Names; ``zero-shot`` stands for zero-shot transfer from every smaller fidelity.
        fidelities: From the smallest to the target.

    Returns:
        Each policy once, in order of appearance.

    Raises:
        UserError: If there is no policy of a name.
    """
    known = [*names(fidelities), *ABLATIONS]
    expanded: list[str] = []
    for name in chosen:
        if name == ZERO_SHOT:
            expanded += [full for full in known if full.startswith(f"{ZERO_SHOT}-")]
        elif name in known:
            expanded.append(name)
        else:
            raise UserError(f"policies: unknown {name!r}; {suggest(name, [*known, ZERO_SHOT])}")
    return list(dict.fromkeys(expanded))


def searched(name: str) -> str | None:
    """Return the one smaller fidelity that a policy cannot do without; None if there is none."""
    return name.removeprefix(f"{ZERO_SHOT}-") if name.startswith(f"{ZERO_SHOT}-") else None


def make(name: str, settings: PolicySettings | None, fidelities: Sequence[Fidelity]) -> Policy:
    """Make a policy by its full name.

    Args:
        name: One of ``names(fidelities)``, or of the ablation.
        settings: What the user set; defaults where None.
        fidelities: From the smallest to the target.

    Returns:
        The policy.

    Raises:
        UserError: If there is no policy of that name.
    """
    if name not in (known := [*names(fidelities), *ABLATIONS]):
        raise UserError(f"policies: unknown {name!r}; {suggest(name, known)}")
    settings = settings or PolicySettings()
    if name in POLICIES:
        return make_policy(name, settings)
    if name in ABLATIONS:
        from admire_pipeline.optimizer.bayesian import Admire
        from admire_pipeline.optimizer.design import Rules
        from admire_pipeline.optimizer.fitting import SurrogateSettings

        choices = dict(ABLATIONS[name])
        surrogate = SurrogateSettings(**choices.pop("surrogate", {}))
        rules = Rules(**choices.pop("rules", {}))
        settings = replace(settings, **choices.pop("settings", {}))
        return Admire(settings, surrogate=surrogate, rules=rules, **choices)
    if name == "uniform":
        from admire_pipeline.replay.baselines import Uniform

        return Uniform(settings)
    if name == "regmix":
        from admire_pipeline.replay.regmix import RegMix

        return RegMix(settings)
    from admire_pipeline.replay.zero_shot import ZeroShot

    return ZeroShot(settings, name.removeprefix(f"{ZERO_SHOT}-"))
