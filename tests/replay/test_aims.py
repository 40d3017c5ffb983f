"""Aims: met, not met or not measured, from curves that are known."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from admire_pipeline.optimizer import make_policy
from admire_pipeline.replay.aims import AIMS, Aim, Found, NotMeasured, outdated, read_curves
from admire_pipeline.replay.jobs import CODE, COLUMNS, CUT, JOBS, code_of, read_kept

SEEDS = range(100, 105)


def curves(
    policy: str,
    steps: list[tuple[float, float]],
    *,
    table: str = "tulu",
    problem: str = "pool",
    objectives: Iterable[str] = ("average",),
    seeds: Iterable[int] = SEEDS,
    budget: float = 15,
) -> pd.DataFrame:
    """The same steps (cost, honest regret) after a start at 1 for all objectives and seeds."""
    rows = [
        (policy, table, problem, objective, seed, step, cost, regret, budget)
        for objective in objectives
        for seed in seeds
        for step, (cost, regret) in enumerate([(0.0, 1.0), *steps])
    ]
    columns = ["policy", "table", "problem", "objective", "seed", "step", "cost", "honest"]
    return pd.DataFrame(rows, columns=[*columns, "budget"])


def aim(problem: str) -> Aim:
    (found,) = [aim for aim in AIMS if aim.problem.startswith(problem)]
    return found


def check(problem: str, *parts: pd.DataFrame) -> Found:
    return aim(problem).check(pd.concat(parts, ignore_index=True))


TWENTY = [f"objective-{i}" for i in range(20)]
GOOD = [(1.0, 0.6), (4.0, 0.3), (9.0, 0.2), (14.0, 0.1)]
WEAK = [(1.0, 0.8), (4.0, 0.5), (9.0, 0.3), (14.0, 0.2)]


@pytest.mark.parametrize(
    ("ours", "bo", "met"),
    [(GOOD, WEAK, True), (WEAK, WEAK, False), (GOOD, [(1.0, 0.5), *WEAK[1:]], False)],
)
def test_tulu_at_most_the_aims_and_never_above_the_others(
    ours: list[tuple[float, float]], bo: list[tuple[float, float]], met: bool
) -> None:
    parts = [
        curves(policy, steps, objectives=TWENTY)
        for policy, steps in (("admire", ours), ("admire-bo", bo), ("random", WEAK))
    ]
    found = check("Tülu pool, 20", *parts)
    assert found.met is met
    assert found.value.startswith("0.60 / 0.30" if ours is GOOD else "0.80 / 0.50")


def test_too_few_objectives_seeds_or_budget_is_not_measured() -> None:
    def parts(**changed: object) -> list[pd.DataFrame]:
        about = {"objectives": TWENTY, **changed}
        return [curves(p, GOOD, **about) for p in ("admire", "admire-bo", "random")]

    check("Tülu pool, 20", *parts())
    for changed, message in (
        ({"objectives": TWENTY[:19]}, "19 of 20 objectives"),
        ({"seeds": range(100, 104)}, "4 seeds"),
        ({"budget": 14.0}, "budget 14 of 15"),
        ({"table": "pile"}, "no admire"),
    ):
        with pytest.raises(NotMeasured, match=message):
            check("Tülu pool, 20", *parts(**changed))


def test_a_seed_that_lacks_an_objective_does_not_count() -> None:
    part = curves("admire", GOOD, objectives=TWENTY, seeds=range(100, 106))
    gap = part[~((part["seed"] == 103) & (part["objective"] == "objective-7"))]
    others = [
        curves(p, WEAK, objectives=TWENTY, seeds=range(100, 106)) for p in ("admire-bo", "random")
    ]
    assert check("Tülu pool, 20", gap, *others).met
    # Five seeds, of which one objective has four: it was only begun.
    with pytest.raises(NotMeasured, match="admire: 19 of 20 objectives"):
        check("Tülu pool, 20", gap[gap["seed"] < 105], *others)


def test_a_seed_of_half_the_objectives_does_not_count() -> None:
    halves = [
        curves("admire", GOOD, objectives=TWENTY[:10]),
        curves("admire", GOOD, objectives=TWENTY[10:], seeds=range(105, 110)),
    ]
    others = [curves(p, WEAK, objectives=TWENTY) for p in ("admire-bo", "random")]
    with pytest.raises(NotMeasured, match="admire: 0 seeds"):
        check("Tülu pool, 20", *halves, *others)


def test_pile_must_reach_and_stay() -> None:
    about = {"table": "pile"}
    soon = curves("admire", [(0.05, 0.04)], **about)
    assert check("Pile pool, average", soon).met
    assert not check("Pile pool, average", curves("admire", [(0.06, 0.0)], **about)).met
    back = curves("admire", [(0.05, 0.04), (3.0, 0.06), (4.0, 0.01)], **about)
    found = check("Pile pool, average", back)
    assert (found.value, found.met) == ("4", False)


def test_pile_area_is_a_fifth() -> None:
    fourteen = [f"objective-{i}" for i in range(14)]
    about = {"table": "pile", "objectives": fourteen, "budget": 2}
    published = curves("admire-mfbo", [(0.0, 0.5)], **about)
    assert check("Pile pool, 14", curves("admire", [(0.0, 0.1)], **about), published).met
    assert not check("Pile pool, 14", curves("admire", [(0.0, 0.11)], **about), published).met


def test_a_published_policy_that_never_arrives_needs_more_than_its_budget() -> None:
    about = {"problem": "simulator", "budget": 9, "objectives": TWENTY}
    others = [curves(p, [(1.0, 0.5)], **about) for p in ("admire-mfbo", "admire-bo")]
    found = check("Tülu simulator", curves("admire", [(3.0, 0.1)], **about), *others)
    assert found.met and "admire-mfbo > 9" in found.beside
    assert not check("Tülu simulator", curves("admire", [(3.1, 0.1)], **about), *others).met
    assert not check("Tülu simulator", curves("admire", [(3.0, 0.2)], **about), *others).met


def test_where_ours_never_arrives_the_others_need_not_be_measured() -> None:
    about = {"problem": "simulator", "objectives": TWENTY}
    bo = curves("admire-bo", [(1.0, 0.5)], **about)
    found = check("Tülu simulator", curves("admire", [(3.0, 0.2)], **about), bo)
    assert (found.value, found.met) == ("> 15", False)
    assert found.beside == "no admire-mfbo; admire-bo > 15"
    with pytest.raises(NotMeasured, match="no admire-mfbo"):
        check("Tülu simulator", curves("admire", [(3.0, 0.1)], **about), bo)


@pytest.mark.parametrize(("regret", "met"), [(0.52, True), (0.53, False)])
def test_what_misleads_costs_at_most_a_twentieth(regret: float, met: bool) -> None:
    about = {"table": "made-up-noise", "objectives": TWENTY[:4]}
    ours = curves("admire", [(0.0, regret)], **about)
    alone = curves("admire-target", [(0.0, 0.5)], **about)
    found = check("made up: small is noise", ours, alone)
    assert found.met is met


def test_policies_are_compared_on_the_seeds_that_they_share() -> None:
    about = {"table": "made-up-noise", "objectives": TWENTY[:4]}
    ours = [
        curves("admire", [(0.0, 0.5)], **about),
        curves("admire", [(0.0, 0.9)], seeds=range(105, 110), **about),
    ]
    alone = curves("admire-target", [(0.0, 0.5)], **about)
    assert check("made up: small is noise", *ours, alone).value.startswith("1.000 x")
    other = curves("admire-target", [(0.0, 0.5)], seeds=range(105, 110), **about)
    with pytest.raises(NotMeasured, match="have not 5 seeds in common"):
        check("made up: small is noise", ours[0], other)


def keep(folder: Path, part: pd.DataFrame, key: str, **changed: object) -> None:
    """Keep each campaign as a benchmark does: a file a job."""
    (folder / JOBS).mkdir(parents=True, exist_ok=True)
    for (policy, objective, seed), frame in part.groupby(["policy", "objective", "seed"]):
        whole = frame.reset_index(drop=True).reindex(columns=COLUMNS).assign(**changed)
        whole.to_parquet(folder / JOBS / f"{policy}.{objective}.{seed}.{key}.parquet")


def test_curves_are_those_of_the_seeds_and_the_greatest_budget(tmp_path: Path) -> None:
    keep(tmp_path / "a", curves("admire", [(1.0, 0.3)], budget=5, seeds=range(3)), "0")
    keep(tmp_path / "b", curves("admire", [(1.0, 0.2)], budget=9, seeds=range(2)), "0")
    keep(tmp_path / "c", curves("admire", [(1.0, 0.1)], budget=9, seeds=range(2)), "0")
    keep(tmp_path / "c", curves("regmix", [(1.0, 0.1)], seeds=range(2)), "0")
    (tmp_path / "c" / JOBS / "data.parquet").write_text("of somebody else")
    folders = [tmp_path / name for name in ("a", "b", "c", "none")]
    found = read_curves(folders, [1, 2])
    last = found[found["step"] == 1].set_index("seed")["honest"].to_dict()
    assert last == {1: 0.2, 2: 0.3}
    assert set(found["policy"]) == {"admire"}, "no aim is about the other"
    assert read_curves([tmp_path / "none"], [0]).empty


def test_the_latest_of_a_kept_campaign_counts_and_one_that_was_cut_does_not(tmp_path: Path) -> None:
    for key, regret, cut in (("z", 0.3, False), ("b", 0.2, False), ("a", 0.1, True)):
        keep(tmp_path, curves("admire", [(1.0, regret)], seeds=[0]), key, **{CUT: cut})
        for path in (tmp_path / JOBS).iterdir():
            os.utime(path, (1, 1 + ord("z") - ord(path.stem[-1])))
    assert read_kept(tmp_path, ["admire"], [0])["honest"].to_list() == [1.0, 0.2]
    assert read_kept(tmp_path, ["admire-bo"], [0]).empty


def test_campaigns_of_code_that_has_changed_since_are_counted(tmp_path: Path) -> None:
    code = code_of(make_policy("random"), "pool")
    keep(tmp_path, curves("random", [(1.0, 0.3)], seeds=range(3)), "0", **{CODE: code})
    assert outdated(read_curves([tmp_path], range(3))) == 0
    assert code != code_of(make_policy("random"), "simulator"), "that is made of a fit, too"
    keep(tmp_path, curves("random", [(1.0, 0.3)], seeds=[1]), "0", **{CODE: "other"})
    keep(tmp_path, curves("admire", [(1.0, 0.3)], seeds=[1]), "0", **{CODE: code})
    keep(tmp_path, curves("random", GOOD, table="my-runs", seeds=[0]), "1", **{CODE: "other"})
    assert outdated(read_curves([tmp_path], range(3))) == 2, "no aim is about a user's table"
    assert outdated(read_curves([tmp_path / "none"], range(3))) == 0
