"""What others may write into MLflow: a trial is as workers write it, or refused in one line."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag
from tests.test_names import names
from tests.tracking.test_store import DRAFT, again

from admire_pipeline.errors import UserError
from admire_pipeline.names import is_printable, is_run_id
from admire_pipeline.tracking import lease, run_format
from admire_pipeline.tracking.ledger import LEDGER
from admire_pipeline.tracking.store import CampaignStore
from admire_pipeline.tracking.trial import Trial

RUN_ID = "0123456789abcdef" * 2
PROPOSAL = {**json.loads(run_format.write_proposal(DRAFT)), "mixture": {"a": 0.25, "b b": 0.75}}


def make_run(
    proposal: str = json.dumps(PROPOSAL),
    run_id: str = RUN_ID,
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    metrics: dict[str, float] | None = None,
) -> Run:
    """A finished trial's run, as a server would send it."""
    info = RunInfo(run_id, "1", "user", "FINISHED", 0, 1, "active", run_name="x")
    data = RunData(
        [Metric(key, value, 0, 0) for key, value in (metrics or {"score": -1.0}).items()],
        [Param(k, v) for k, v in {run_format.PROPOSAL: proposal, **(params or {})}.items()],
        [RunTag(k, v) for k, v in {run_format.NUMBER: "7", **(tags or {})}.items()],
    )
    return Run(info, data)


def read(run: Run) -> Trial | None:
    """The trial, safe to use; None where it is refused in one line that names the run."""
    try:
        trial = run_format.read_trial(run)
    except UserError as error:
        line = str(error)
        assert is_printable(line) and len(line) < 500
        assert run.info.run_id in line or not is_run_id(run.info.run_id)
        return None
    folder = Path("/project/trials")
    assert (folder / trial.run_id).resolve().parent == folder
    assert re.fullmatch(r"trial-[0-9]{3,9}-[A-Za-z0-9_.\-]+", trial.name)
    assert math.isclose(sum(trial.mixture.values()), 1, abs_tol=1e-6)
    assert all(0 <= weight <= 1.001 for weight in trial.mixture.values())
    assert math.isfinite(trial.cost) and trial.cost >= 0
    assert trial.score is None or math.isfinite(trial.score**2)
    assert Trial.from_line(trial.to_line()) == trial or "nan" in trial.to_line().lower()
    return trial


def test_a_trial_as_workers_write_it_is_read() -> None:
    trial = read(make_run())
    assert trial is not None and trial.name == "trial-007-nano"
    assert trial.mixture == {"a": 0.25, "b b": 0.75}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(key=st.sampled_from(sorted(PROPOSAL)), value=anything)
def test_any_value_in_a_proposal(key: str, value: Any) -> None:
    read(make_run(json.dumps({**PROPOSAL, key: value})))


@settings(deadline=None)
@given(weights=st.dictionaries(names, st.floats(0, 1), min_size=1, max_size=3))
def test_any_names_of_domains(weights: dict[str, float]) -> None:
    total = sum(weights.values()) or 1
    mixture = {name: weight / total for name, weight in weights.items()}
    read(make_run(json.dumps({**PROPOSAL, "mixture": mixture})))


@settings(deadline=None)
@given(text=st.text(max_size=30) | names | anything.map(json.dumps))
def test_any_text_in_place_of_a_proposal(text: str) -> None:
    assert read(make_run(text)) is None


@pytest.mark.parametrize("text", ["[" * 100_000, json.dumps(PROPOSAL)[:-9], "9" * 5000, "{}" * 2])
def test_a_proposal_that_is_no_json(text: str) -> None:
    assert read(make_run(text)) is None


@settings(deadline=None)
@given(run_id=names, number=names, revision=names)
def test_any_text_of_a_run(run_id: str, number: str, revision: str) -> None:
    read(make_run(run_id=run_id))
    read(make_run(tags={run_format.NUMBER: number}))
    trial = read(make_run(params={"model.revision": revision}))
    assert trial is None or re.fullmatch("[0-9a-f]+|config", revision)


@settings(deadline=None)
@given(
    name=st.sampled_from(["score", "cost", "score_standard_error", "training_seconds", "devices"]),
    value=st.floats(),
)
def test_any_number_of_a_run(name: str, value: float) -> None:
    seconds = {"training_seconds": 1.0, "evaluation_seconds": 1.0}
    read(make_run(metrics={"score": -1.0, **seconds, name: value}))


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"score": math.nan}, "score"),
        ({"score": math.inf}, "score"),
        ({"score": 1.0, "cost": -1.0}, "cost"),
        ({"score": 1.0, "score_standard_error": -1.0}, "score_standard_error.*at least 0"),
    ],
)
def test_numbers_that_would_mislead_a_search(metrics: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=f"its run '{RUN_ID}' is no trial .*{message}"):
        run_format.read_trial(make_run(metrics=metrics))


def test_an_error_that_is_not_known_misleads_nobody() -> None:
    trial = read(make_run(metrics={"score": 1.0, "score_standard_error": math.nan}))
    assert trial is not None and math.isnan(asdict(trial)["score_standard_error"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("trial.2", "x') or (attributes.status = 'FAILED"), ("trial.x", "a" * 32), ("trial.2", "..")],
)
def test_a_ledger_that_others_have_written_in(store: CampaignStore, key: str, value: str) -> None:
    """The runs that a ledger names stand in a filter of MLflow's."""
    store.open(DRAFT)
    store.release(interrupted=True)
    ledger = store.client.get_experiment(store.experiment).tags[LEDGER]
    store.client.log_param(ledger, "note", "by hand")
    assert len(again(store).trials()) == 1
    store.client.log_param(ledger, key, value)
    with pytest.raises(UserError, match=rf"its ledger, run {ledger}, names .* allowed: "):
        again(store).trials()


def test_a_ledger_elsewhere(store: CampaignStore) -> None:
    """Its run names a file of this machine."""
    store.client.set_experiment_tag(store.experiment, LEDGER, "../../../x")
    with pytest.raises(UserError, match=r"campaign\.name: 'c' .* allowed: a new name"):
        again(store).trials()


def test_a_draft_of_no_number(store: CampaignStore) -> None:
    store.take_turn()
    store.give_up_turn()
    (draft,) = store.client.search_runs([store.experiment])
    store.client.set_tag(draft.info.run_id, run_format.NUMBER, "1; x")
    with pytest.raises(UserError, match=rf"{draft.info.run_id} has the tag .*'1; x'; allowed: "):
        again(store).take_turn()


def test_leases_that_nobody_holds(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    client = store.client
    for key in ("lease.x", "lease.-1", "lease. 9", "lease.1e9"):
        client.log_param(trial.run_id, key, "by hand")
    assert lease.epoch_of(client.get_run(trial.run_id)) == 0
    for text in ("nan", "inf", "-inf", "yesterday", ""):
        client.set_tag(trial.run_id, "admire.heartbeat.0", text)
        assert lease._last_beat(client.get_run(trial.run_id)) == 0.0
    store.release(interrupted=True)
    taken = again(store).claim()
    assert taken is not None and taken.run_id == trial.run_id
