"""Several workers on one campaign: a trial is one worker's, a proposal follows the last one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import time_machine
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from tests.tracking.conftest import CONFIG
from tests.tracking.test_store import DRAFT, again

from admire_pipeline.errors import CampaignOver, UserError
from admire_pipeline.hooks import CampaignHooks
from admire_pipeline.tracking import CampaignSettings, TrialStatus, lease, run_format
from admire_pipeline.tracking.history import Snapshot
from admire_pipeline.tracking.lease import LostLease, epoch_of
from admire_pipeline.tracking.store import CampaignStore
from admire_pipeline.tracking.trial import Observation
from admire_pipeline.tracking.turns import Turns
from admire_pipeline.tracking.write_once import write_once

ELSEWHERE = "another machine|1|0"

WORKER = """
import sys, time
from pathlib import Path
from admire_pipeline.tracking import CampaignSettings
from admire_pipeline.tracking.store import CampaignStore
from admire_pipeline.tracking.trial import Observation, TrialDraft
store = CampaignStore(
    CampaignSettings(name="c", budget=3, seed=1), Path({project!r}), {config!r}, {serves!r}
)
store.client
print("ready", flush=True)
sys.stdin.readline()
{code}
"""


def start(project: Path, code: str, serves: object = None) -> subprocess.Popen[str]:
    """A worker that has connected, and waits for a word to go on."""
    script = WORKER.format(project=str(project), config=CONFIG, code=code, serves=serves)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def go(workers: list[subprocess.Popen[str]]) -> list[str]:
    """Send all of them on at once; what each of them printed."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    printed = [worker.communicate(timeout=240) for worker in workers]
    assert not any(worker.returncode for worker in workers), printed
    return [output.strip() for output, _ in printed]


def hand_over(store: CampaignStore) -> CampaignStore:
    """Make the open trial another machine's that is silent; another worker of this one takes it."""
    trial = store.at_work
    assert trial is not None
    store.client.set_tag(trial.run_id, lease.OWNER, ELSEWHERE)
    store.client.set_tag(trial.run_id, "admire.heartbeat.0", "1000")
    successor = again(store)
    successor.settings = store.settings.model_copy(update={"heartbeat_timeout": 1.0})
    assert successor.claim() == trial
    return successor


def look_away(held: lease.Lease) -> Run:
    """Its last look at the lease was before somebody took the run over."""
    return held._client.get_run(held.run_id)


def test_only_one_of_many_writes_a_parameter(store: CampaignStore) -> None:
    run_id = store.client.create_run(store.experiment).info.run_id
    code = (
        "from admire_pipeline.tracking.write_once import write_once\n"
        f"print(write_once(store.client, {run_id!r}, 'x', str(time.time_ns())))"
    )
    told = go([start(store.project, code) for _ in range(3)])
    assert sorted(told) == ["False", "False", "True"]
    value = store.client.get_run(run_id).data.params["x"]
    assert write_once(store.client, run_id, "x", value), "the same request, sent again"
    assert not write_once(store.client, run_id, "x", "another")


def test_proposals_of_workers_at_once_follow_each_other(store: CampaignStore) -> None:
    """What each one proposes is what it has seen: nobody has missed a proposal before his own."""
    draft = {**DRAFT.__dict__, "cost": 0.1}
    code = (
        "for _ in range(3):\n"
        "    store.take_turn()\n"
        "    seen = len(store.trials())\n"
        "    time.sleep(0.05)\n"
        f"    draft = TrialDraft(**{{**{draft!r}, 'acquisition_value': float(seen)}})\n"
        "    store.open(draft)\n"
        "    store.observe(Observation({'score': float(seen), 'cost': 0.1}, {}))\n"
        "    store.finish()\n"
    )
    go([start(store.project, code) for _ in range(3)])
    trials = store.trials()
    assert [trial.score for trial in trials] == [float(n) for n in range(9)]
    assert [trial.name for trial in trials] == [f"trial-{n:03d}-nano" for n in range(1, 10)]
    runs = store.client.search_runs([store.experiment], run_view_type=3)
    assert {run.info.status for run in runs if run.info.lifecycle_stage == "active"} == {"FINISHED"}


@pytest.mark.parametrize("ends", [True, False])
def test_whoever_begins_after_a_look_at_an_idle_campaign_is_seen(
    store: CampaignStore, ends: bool
) -> None:
    assert store.trials() == []
    other = again(store)
    other.open(replace(DRAFT, cost=1.0))
    other.observe(Observation({"score": 1.0}, {}))
    if ends:
        other.finish()
    assert store.take_up() is None
    assert [trial.score for trial in store.trials()] == [1.0]
    assert store.open(DRAFT).name == "trial-002-nano"


@pytest.mark.parametrize("cost", [0.1, 3.0])
def test_what_is_interrupted_after_a_look_is_taken_up(store: CampaignStore, cost: float) -> None:
    assert store.trials() == []
    other = again(store)
    trial = other.open(replace(DRAFT, cost=cost))
    other.release(interrupted=True)
    assert store.take_up() == trial, "even where there is no budget for another"


def test_every_claim_is_a_look(store: CampaignStore) -> None:
    assert store.claim() is None
    other = again(store)
    trial = other.open(DRAFT)
    other.release(interrupted=False)
    assert store.trials() == [], "what it has seen stays what it was, until it looks again"
    assert store.current() == trial


def test_one_who_has_begun_between_a_look_and_a_turn_is_seen_at_once(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The turn goes by what the claim has read, until the ledger refuses its number."""
    other, begin = again(store), Turns._begin

    def begin_late(turns: Turns, known: Snapshot) -> lease.Lease | None:
        monkeypatch.undo()
        other.open(replace(DRAFT, cost=1.0))
        other.observe(Observation({"score": 1.0}, {}))
        other.finish()
        return begin(turns, known)

    monkeypatch.setattr(Turns, "_begin", begin_late)
    assert store.take_up() is None
    assert [trial.score for trial in store.trials()] == [1.0]
    assert store.open(DRAFT).name == "trial-002-nano"
    assert "waiting" not in caplog.text, "it has ended"


def test_a_budget_that_is_spent_after_a_look_is_not_overspent(store: CampaignStore) -> None:
    assert store.trials() == []
    other = again(store)
    other.open(replace(DRAFT, cost=3.0))
    with pytest.raises(CampaignOver):
        store.take_up()
    other.finish()
    active = store.client.search_runs([store.experiment])
    assert len(active) == 1, "no run is left of a turn that was not taken"


def test_an_interrupted_trial_is_taken_up_by_one_of_many(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    store.release(interrupted=True)
    code = "trial = store.claim(); print(trial and trial.run_id); time.sleep(20)"
    told = go([start(store.project, code) for _ in range(3)])
    assert sorted(told) == sorted([trial.run_id, "None", "None"])
    assert epoch_of(store.client.get_run(trial.run_id)) == 1


def test_a_worker_killed_before_its_proposal_leaves_its_turn(store: CampaignStore) -> None:
    worker = start(store.project, "store.take_turn(); print('mine', flush=True); time.sleep(60)")
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "mine\n"
    assert store.trials() == [], "a turn is no trial"
    worker.kill()
    worker.communicate()
    trial = again(store).open(DRAFT)
    assert trial.name == "trial-001-nano"
    (run,) = store.client.search_runs([store.experiment], run_view_type=3)
    assert run.info.run_id == trial.run_id and epoch_of(run) == 1


def test_a_turn_that_is_given_up_is_the_next_workers(store: CampaignStore) -> None:
    store.take_turn()
    (run,) = store.client.search_runs([store.experiment])
    store.give_up_turn()
    assert store.client.get_run(run.info.run_id).info.status == "SCHEDULED"
    opened = again(store).open(DRAFT)
    assert (opened.run_id, opened.name) == (run.info.run_id, "trial-001-nano")
    assert store.client.get_run(run.info.run_id).info.status == "RUNNING"


def test_a_turn_that_was_lost_is_not_given_up(store: CampaignStore) -> None:
    store.take_turn()
    (run,) = store.client.search_runs([store.experiment])
    store.client.set_tag(run.info.run_id, lease.OWNER, ELSEWHERE)
    store.client.set_tag(run.info.run_id, "admire.heartbeat.0", "1000")
    other = again(store)
    other.settings = store.settings.model_copy(update={"heartbeat_timeout": 1.0})
    opened = other.open(DRAFT)
    with pytest.raises(LostLease):
        store.give_up_turn()
    assert store.client.get_run(opened.run_id).info.status == "RUNNING"
    assert again(store).claim() is None


def test_runs_that_did_not_get_their_number_are_removed(store: CampaignStore) -> None:
    """As when the answer to a request was lost, which MLflow sends again."""
    tags = {"admire.number": "1", lease.OWNER: ELSEWHERE, "admire.heartbeat.0": "1000"}
    left = store.client.create_run(store.experiment, tags=tags).info.run_id
    later = store.client.create_run(store.experiment, tags=tags).info.run_id
    assert write_once(store.client, store._connection[2].run_id, "trial.1", later)
    store.settings = store.settings.model_copy(update={"heartbeat_timeout": 1.0})
    assert store.open(DRAFT).run_id == later
    assert [run.info.run_id for run in store.client.search_runs([store.experiment])] == [later]
    assert store.client.get_run(left).info.lifecycle_stage == "deleted"


def test_a_spent_budget_begins_nothing(store: CampaignStore) -> None:
    store.open(replace(DRAFT, cost=3.0))
    with pytest.raises(CampaignOver, match=r"its budget is spent \(3\.00 of 3\.00\)"):
        again(store).take_turn()
    assert len(store.client.search_runs([store.experiment])) == 1


def test_a_worker_that_was_suspended_looks_before_it_logs(store: CampaignStore) -> None:
    """Its first point may be due before its heartbeat has noticed that it has lost the trial."""
    store.settings = store.settings.model_copy(update={"heartbeat_timeout": 1.0})
    trial = store.open(DRAFT)
    assert store._lease is not None
    store._lease._heartbeat.stop()  # as if suspended from here on
    hand_over(store)
    time.sleep(0.5)
    with pytest.raises(LostLease):
        store.log_metrics({"train.loss": 9.0}, step=3)
    assert store.client.get_run(trial.run_id).data.metrics == {}


def test_a_lost_lease_writes_nothing_over(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    successor = hand_over(store)
    plan = store.folder(trial) / "plan.json"
    plan.write_text("{}")
    for write in (
        lambda: store.observe(Observation({"score": -9.0, "cost": 9.0}, {})),
        lambda: store.log_artifact(plan),
        lambda: store.log_metrics({"train.loss": 9.0}, step=3),
    ):
        with pytest.raises(LostLease, match="another one has taken the trial over"):
            write()
    with pytest.raises(LostLease):
        store.release(interrupted=True)
    assert store.at_work is None
    run = store.client.get_run(trial.run_id)
    assert run.info.status == "RUNNING" and set(run.data.metrics) == set()
    successor.observe(Observation({"score": 1.0, "cost": 0.1}, {}))
    successor.finish()
    (seen,) = again(store).trials()
    assert (seen.status, seen.score, seen.cost) == (TrialStatus.OBSERVED, 1.0, 0.1)


@pytest.mark.parametrize("late", ["before", "after"])
def test_a_result_on_its_way_does_not_replace_the_successors(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """Suspended between the look at the lease and the write: no look can exclude that."""
    store.open(DRAFT)
    successor = hand_over(store)
    monkeypatch.setattr(lease.Lease, "check", look_away)
    ours = Observation({"score": 1.0, "cost": 0.1, "eval.x": 2.0}, {})
    theirs = Observation({"score": 7.0, "cost": 0.7, "eval.x": 7.0}, {})
    for writer in (store, successor) if late == "before" else (successor, store):
        writer.observe(ours if writer is successor else theirs)
    successor.finish()
    store.fail("the wrong end of it")
    (seen,) = again(store).trials()
    assert (seen.status, seen.score, seen.cost) == (TrialStatus.OBSERVED, 1.0, 0.1)
    assert dict(seen.metrics) == {"x": 2.0}


def test_a_late_failure_is_not_believed_for_ever(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.open(DRAFT)
    successor = hand_over(store)
    with monkeypatch.context() as suspended:
        suspended.setattr(lease.Lease, "check", look_away)
        store.fail("late")
    assert [trial.status for trial in again(store).trials()] == [TrialStatus.PENDING]
    assert again(store).ended() == [], "its weights and checkpoints are the successor's"
    successor.observe(Observation({"score": 1.0}, {}))
    successor.finish()
    assert [trial.status for trial in again(store).trials()] == [TrialStatus.OBSERVED]


def test_a_late_proposal_is_refused(store: CampaignStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that believe to have one turn end with one proposal."""
    store.take_turn()
    (run,) = store.client.search_runs([store.experiment])
    store.client.set_tag(run.info.run_id, lease.OWNER, ELSEWHERE)
    store.client.set_tag(run.info.run_id, "admire.heartbeat.0", "1000")
    other = again(store)
    other.settings = store.settings.model_copy(update={"heartbeat_timeout": 1.0})
    other.take_turn()
    opened = other.open(replace(DRAFT, fidelity="small"))
    with monkeypatch.context() as suspended:
        suspended.setattr(lease.Lease, "check", look_away)
        with pytest.raises(UserError):
            store.open(DRAFT)
    assert opened.name == "trial-001-small"
    assert [trial.fidelity for trial in again(store).trials()] == ["small"]


def test_a_holder_that_lives_is_not_taken_for_silent(store: CampaignStore) -> None:
    """Its clock is an hour off, or ours is: it is watched, and beats."""
    store.settings = store.settings.model_copy(update={"heartbeat_timeout": 20.0})
    trial = store.open(DRAFT)
    store.client.set_tag(trial.run_id, lease.OWNER, ELSEWHERE)
    other = again(store)
    real = time.time
    for jump in (-3600.0, 3600.0):
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr(lease.time, "time", lambda jump=jump: real() + jump)
            assert other.claim() is None
    store._let_go()  # its heart stops
    store.client.set_tag(trial.run_id, "admire.heartbeat.0", "1000")
    assert other.claim() == trial


def test_a_trial_ends_no_earlier_than_it_began(store: CampaignStore) -> None:
    """By the clock of its last worker, which is set back, or another one than the first one's."""
    trial = store.open(DRAFT)
    with time_machine.travel(time.time() - 3600):
        store.observe(Observation({"score": 1.5, "cost": 0.25}, {}))
        store.finish()
    info = store.client.get_run(trial.run_id).info
    assert info.status == "FINISHED" and info.end_time == info.start_time


def test_fidelities_of_a_worker(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    store.release(interrupted=True)
    other = CampaignStore(store.settings, store.project, CONFIG, ["small"])
    assert other.claim() is None
    assert CampaignStore(store.settings, store.project, CONFIG, ["nano"]).claim() == trial


def test_an_experiment_of_others_is_refused(store: CampaignStore) -> None:
    store.client.create_experiment("theirs")
    settings = CampaignSettings(name="theirs", budget=1, seed=0)
    with pytest.raises(UserError, match=r"campaign\.name: 'theirs' is an MLflow experiment that"):
        _ = CampaignStore(settings, store.project, CONFIG).client


def test_a_trial_with_a_score_is_ended_not_trained_again(store: CampaignStore) -> None:
    """Killed between score and end: another machine has neither its model nor its tables."""
    trial = store.open(DRAFT)
    store.observe(Observation({"score": 1.0}, {}))
    store._let_go()
    successor = again(store)
    assert successor.take_up() is None and successor.at_work is None
    (seen,) = again(store).trials()
    assert store.client.get_run(trial.run_id).info.status == "FINISHED"
    assert (seen.status, seen.score) == (TrialStatus.OBSERVED, 1.0)


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_the_last_holder_says_what_a_run_has_come_to(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Not the status, which one that had it before may write late."""
    trial = store.open(DRAFT)
    successor = hand_over(store)
    if status == "KILLED":
        successor.fail("the score is nan")
        expected = TrialStatus.FAILED
    else:
        successor.release(interrupted=True)
        expected = TrialStatus.PENDING
    store.client.set_terminated(trial.run_id, status)
    assert [seen.status for seen in again(store).trials()] == [expected]
    claimed = again(store).claim()
    assert (claimed is None) == (expected is TrialStatus.FAILED)
    now = store.client.get_run(trial.run_id).info.status
    assert now == ("FAILED" if expected is TrialStatus.FAILED else "RUNNING")


def test_failed_while_another_took_it_over(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as running, failed by its holder, then taken over: it is not trained again."""
    store.open(DRAFT)
    other = again(store)
    take_over = lease.take_over

    def slow(client: object, run: object) -> int | None:
        store.fail("the score is nan")
        return take_over(client, run)

    monkeypatch.setattr("admire_pipeline.tracking.store.take_over", slow)
    monkeypatch.setattr("admire_pipeline.tracking.store.find_free", lambda client, runs, _: runs)
    assert other.claim() is None
    assert [seen.status for seen in again(store).trials()] == [TrialStatus.FAILED]
    assert again(store).claim() is None


@pytest.mark.parametrize("call", ["create_run", "log_batch", "update_run"])
def test_a_turn_that_breaks_off_is_free(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    _ = store.experiment

    def away(*_: object, **__: object) -> None:
        raise MlflowException("away")

    with monkeypatch.context() as broken:
        broken.setattr(type(store.client), call, away)
        with pytest.raises(MlflowException):
            store.take_turn()
    assert again(store).open(DRAFT).name == "trial-001-nano"


@pytest.mark.parametrize("call", ["get_run", "log_batch", "set_terminated"])
def test_a_failure_that_the_server_does_not_hear_of_lets_the_trial_go(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    trial = store.open(DRAFT)

    def away(*_: object, **__: object) -> None:
        raise MlflowException("away")

    with monkeypatch.context() as broken:
        broken.setattr(type(store.client), call, away)
        with pytest.raises(MlflowException):
            store.fail("the score is nan")
    assert store.at_work is None
    other = again(store)
    # Where its end was said, its status is put right; else another finds out itself.
    assert other.claim() == (None if call == "set_terminated" else trial)
    status = store.client.get_run(trial.run_id).info.status
    assert status == ("FAILED" if call == "set_terminated" else "RUNNING")


def test_a_file_that_a_successor_has_removed_is_told_as_the_lost_lease(
    store: CampaignStore,
) -> None:
    """It shares the trial's folder, and is through with the checkpoints."""
    trial = store.open(DRAFT)
    hand_over(store)
    hooks = CampaignHooks()
    hooks._store = store
    with pytest.raises(LostLease, match="another one has taken the trial over"):
        hooks.on_pipeline_error(FileNotFoundError("checkpoints/checkpoint-11/model.safetensors"))
    status = store.client.get_run(trial.run_id).info.status
    assert status == "RUNNING", "the successor's word counts"


def test_a_proposal_of_one_who_had_the_turn_before(store: CampaignStore) -> None:
    store.take_turn()
    (run,) = store.client.search_runs([store.experiment])
    theirs = run_format.write_proposal(replace(DRAFT, fidelity="small"))
    assert write_once(store.client, run.info.run_id, run_format.PROPOSAL, theirs)
    with pytest.raises(UserError, match="who had this turn before was slow"):
        store.open(DRAFT)
    trial = again(store).claim()
    assert trial is not None and trial.fidelity == "small"


def test_a_suspended_process_of_this_machine_is_as_good_as_its_signs_of_life(
    store: CampaignStore,
) -> None:
    store.settings = store.settings.model_copy(update={"heartbeat_timeout": 2.0})
    worker = start(store.project, "store.take_turn(); print('mine', flush=True); time.sleep(60)")
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "mine\n"
    worker.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    assert store.open(DRAFT).name == "trial-001-nano"
    worker.kill()
    worker.communicate()
