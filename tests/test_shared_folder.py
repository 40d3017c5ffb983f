"""Two campaigns work in one folder at the same time: neither sees anything of the other."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import Chaos
from tests.conftest import ENV, Project
from tests.histories import ledger_of
from tests.test_by_force import NANO, SMALL, Workers, check_history
from tests.test_crash import mlflow_client

TRIALS = 4
OTHERS = "others"
"""The second campaign, and its folder of `conf`."""


def second(project: Project, *, same_corpus: bool) -> Project:
    """The second campaign's config: its own name, and another corpus where that is asked for."""
    conf = project.folder / "conf"
    shutil.copytree(conf / ENV, conf / OTHERS)
    others = Project(project.folder, OTHERS)
    others.set("parameters.yml", "campaign.name", OTHERS)
    if not same_corpus:
        others.set("catalog.yml", "corpus.passage_bytes", 128)
    return others


def kept(project: Project, ledger: str) -> set[str]:
    """The trials that this machine keeps of a campaign."""
    lines = (project.folder / f"data/mlflow/history/{ledger}.jsonl").read_text().splitlines()
    return {json.loads(line.partition(" ")[2])["run_id"] for line in lines}


def corpora(project: Project, runs: list[Any]) -> set[str]:
    """Hashes of what the trials were trained on, by their plans."""
    folder = project.folder / "data/06_models/trials"
    plans = [json.loads((folder / r.info.run_id / "mixing_plan.json").read_text()) for r in runs]
    return {plan["corpus"] for plan in plans}


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("same_corpus", [True, False], ids=["one corpus", "other corpora"])
def test_two_campaigns_at_once(
    project: Project, chaos: Chaos, tmp_path: Path, same_corpus: bool
) -> None:
    fault = chaos.fault(
        f"two campaigns, {'of one corpus' if same_corpus else 'of two corpora'}, work in one "
        "folder at the same time"
    )
    rng = random.Random(13)
    for number in range(6 if chaos.full else 1):
        folder = tmp_path / f"try-{number}"
        shutil.copytree(project.folder, folder, symlinks=True)
        ours = Project(folder)
        theirs = second(ours, same_corpus=same_corpus)
        budget = 2 * SMALL + (TRIALS - 2) * NANO
        campaigns = {"test": Workers(ours, budget), OTHERS: Workers(theirs, budget)}
        with fault.recovering():
            workers = {}
            for name in rng.sample(sorted(campaigns), 2):
                workers[name] = campaigns[name].start()
                time.sleep(rng.choice([0.0, rng.uniform(0, 4)]))
            for name, worker in workers.items():
                campaigns[name].join(worker)
        client = mlflow_client(ours)
        found = {n: check_history(client, c.printed, 0, fault, n) for n, c in campaigns.items()}
        ids = {name: {run.info.run_id for run in runs} for name, runs in found.items()}
        fault.duplicated += len(ids["test"] & ids[OTHERS])
        assert ids["test"].isdisjoint(ids[OTHERS])
        assert ids["test"] | ids[OTHERS] == {
            path.name for path in (folder / "data/06_models/trials").iterdir()
        }
        for name, runs in found.items():
            assert [run.info.run_name[:9] for run in runs] == [
                f"trial-{n:03d}" for n in range(1, len(runs) + 1)
            ]
            ledger = client.get_experiment_by_name(name).tags["admire.ledger"]
            assert set(ledger_of(client, name).values()) == ids[name]
            assert kept(ours, ledger) <= ids[name] and len(kept(ours, ledger)) >= len(runs) - 1
            for run in runs:
                seen = set(filter(None, run.data.tags["admire.based_on"].split(",")))
                assert seen <= ids[name], "it has learned from its own trials alone"
            assert len(corpora(ours, runs)) == 1
        texts = corpora(ours, found["test"]) | corpora(ours, found[OTHERS])
        assert len(texts) == (1 if same_corpus else 2)
