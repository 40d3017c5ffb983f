"""Requests to a real MLflow server that fail, or whose answers are lost, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException
from tests.chaos import Chaos, Fault
from tests.proxy import Kind, Proxy, Request
from tests.servers import MlflowServer
from tests.tracking.conftest import CONFIG
from tests.tracking.test_store import DRAFT, again

from admire_pipeline.errors import CampaignOver, UserError
from admire_pipeline.tracking import CampaignSettings
from admire_pipeline.tracking.catalog import CurvesDataset
from admire_pipeline.tracking.ledger import LEDGER
from admire_pipeline.tracking.store import CampaignStore
from admire_pipeline.tracking.trial import Observation

COST = 0.1
WRITES = (
    '"key": "admire.number"',
    '"key": "trial.',
    '"key": "admire.proposal"',
    '"key": "lease.',
    '"key": "expected_cost"',
    "artifacts/config.yaml",
    '"key": "train.loss"',
    "artifacts/plan.json",
    '"key": "tokens"',
    '"key": "score"',
    '"key": "admire.given_back',
    '"status": "FINISHED"',
)
"""What a step writes, by what stands in each request."""

Due = Callable[[Request], bool]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: Proxy, tmp_path: Path, request: pytest.FixtureRequest) -> CampaignStore:
    """A store behind the proxy, of a campaign of the test's own."""
    name = re.sub(r"\W+", " ", request.node.name).strip()
    settings = CampaignSettings(
        name=name, budget=1000, seed=1, tracking_uri=proxy.uri, server_timeout=5
    )
    return CampaignStore(settings, tmp_path, CONFIG)


def step(store: CampaignStore) -> None:
    """What a step asks of the server, without its compute."""
    trial = store.take_up() or store.open(replace(DRAFT, cost=COST))
    curves = CurvesDataset()
    curves.bind(store)
    log = curves.load()
    for point in (1, 2, 3):
        log({"train.loss": 1.0 / point}, point)
    plan = store.folder(trial) / "plan.json"
    plan.write_text("{}")
    store.log_artifact(plan)
    store.observe(Observation({"score": float(trial.seed), "cost": trial.cost}, {"tokens": 8}))
    store.finish()


def holding(sign: str) -> Due:
    """The first request with this in its path or body."""
    return lambda request: request.holds(sign)


def nth(number: int) -> Due:
    """The request of this number, from the first on."""
    left = iter(range(number + 1))
    return lambda _: next(left, None) == number


def break_off(store: CampaignStore) -> None:
    """What the hook does once a step has failed for a reason that is not the trial's."""
    if store.at_work is not None:
        store.release(interrupted=True)
    else:
        store.give_up_turn()


def meets(far: CampaignStore, proxy: Proxy, kind: Kind, due: Due, fault: Fault) -> bool:
    """A step of which one request meets a fault, and what finishes it; False: it has none such.

    The step begins with a trial that was interrupted, if there is one.
    """
    store, before = again(far), proxy.faults[kind]
    proxy.fail(kind, due)
    try:
        step(store)
    except (MlflowException, RequestException):
        break_off(store)
        with fault.recovering():
            step(again(far))
    else:
        fault.tries += proxy.faults[kind] - before
    proxy.be_calm()
    return proxy.faults[kind] > before


@pytest.mark.slow
@pytest.mark.chaos
def test_each_request_of_a_step(
    far: CampaignStore,
    proxy: Proxy,
    server: MlflowServer,
    chaos: Chaos,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLflow sends again what has failed or was lost; an answer that was cut off ends the step."""
    kinds: list[Kind] = ["lost", "cut"]
    kinds += ["500", "reset", "slow"] if chaos.full else []
    fault = chaos.fault("each request of a step fails, or loses its answer, in turn")
    for kind in kinds:
        each = chaos.full and kind != "slow"
        if kind == "slow":
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # its answers come too late
        for resumed in (False, True):
            for due in map(nth, range(200)) if each else map(holding, WRITES):
                if resumed:
                    left = again(far)
                    _ = left.take_up() or left.open(replace(DRAFT, cost=COST))
                    left.release(interrupted=True)
                if not meets(far, proxy, kind, due, fault) and each:
                    break  # no step has so many requests
    assert fault.tries > (200 if chaos.full else 2 * len(kinds) * (len(WRITES) - 3))
    assert fault.seconds, "an answer that was cut off ends a step"
    check(far, server, fault)


def test_a_run_that_was_made_twice_is_removed_even_if_it_was_the_last(
    far: CampaignStore, proxy: Proxy, server: MlflowServer
) -> None:
    proxy.fail("lost", lambda request: request.path.endswith("runs/create"), times=1)
    _ = far.client  # the first one is the ledger's
    proxy.fail("lost", lambda request: request.path.endswith("runs/create"))
    step(far)
    assert len(far.client.search_runs([far.experiment])) == 2
    check(far, server, Fault("a run made twice"))


@pytest.mark.parametrize("part", ["runs/get", "runs/update", "expected_cost"])
def test_a_trial_whose_taking_up_broke_off_is_free(
    far: CampaignStore, proxy: Proxy, part: str
) -> None:
    """Also for another session of this process, which lives."""
    trial = far.open(DRAFT)
    far.release(interrupted=True)
    store = again(far)
    _ = store.client
    taken = "lease.1"  # from here on it is this process's
    seen: list[Request] = []

    def after_that(request: Request) -> bool:
        seen.append(request)
        return request.holds(part) and any(earlier.holds(taken) for earlier in seen)

    proxy.fail("cut", after_that)
    with pytest.raises(MlflowException):
        store.claim()
    break_off(store)
    assert again(far).claim() == trial


def test_a_server_that_is_being_started_is_waited_for(far: CampaignStore, proxy: Proxy) -> None:
    proxy.away(1.5)
    assert far.open(DRAFT).name == "trial-001-nano"


def test_a_turn_is_given_up_with_one_request(
    far: CampaignStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own patience has just been used up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    _ = far.client
    seen: list[Request] = []

    def from_the_ledger_on(request: Request) -> bool:
        seen.extend([request] if seen or request.holds('"key": "trial.') else [])
        return bool(seen)

    proxy.fail("500", from_the_ledger_on, times=100)
    with pytest.raises(MlflowException):
        far.open(DRAFT)
    written, asked, given_up = 3, 3, 1
    assert proxy.faults["500"] == written + asked + given_up


def test_a_refusal_is_not_waited_for(far: CampaignStore, proxy: Proxy) -> None:
    proxy.fail("404", lambda _: True, times=100)
    with pytest.raises(UserError, match=r"campaign\.tracking_uri: cannot use"):
        _ = far.client
    assert proxy.faults["404"] < 3


def test_a_point_of_a_curve_is_one_request(far: CampaignStore, proxy: Proxy) -> None:
    """Where the curve ends is asked once: the answer grows with it."""
    far.open(DRAFT)
    curves = CurvesDataset()
    curves.bind(far)
    log = curves.load()
    log({"train.loss": 3.0}, 1)
    before = len(proxy.seen)
    for point in range(2, 6):
        log({"train.loss": 3.0}, point)
    assert len(proxy.seen) - before == 4
    assert far.last_step("train.loss") == 5


def check(store: CampaignStore, server: MlflowServer, fault: Fault) -> None:
    """Every number of the ledger is one finished trial; nothing of it stands twice."""
    over = again(store)
    over.settings = store.settings.model_copy(update={"budget": COST})
    with pytest.raises(CampaignOver):  # what a worker does that is started once more
        over.take_up()
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(store.settings.name)
    assert experiment is not None
    ledger = client.get_run(experiment.tags[LEDGER]).data.params
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    fault.lost += len(set(ledger.values()) - {run.info.run_id for run in runs})
    fault.lost += sum(run.info.status != "FINISHED" for run in runs)
    fault.duplicated += len(runs) - len(ledger)
    for run in runs:
        for name in ("score", "train.loss"):
            points = client.get_metric_history(run.info.run_id, name)
            fault.duplicated += len(points) - len({point.step for point in points})
    assert (fault.lost, fault.duplicated) == (0, 0)
    trials = again(store).trials()
    assert [trial.score for trial in trials] == [float(trial.seed) for trial in trials]
    assert len(trials) == len(ledger) == max(int(key.partition(".")[2]) for key in ledger)
