"""The history is read so that an ended trial is fetched once, on whichever machine."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest
from tests.tracking.conftest import CONFIG
from tests.tracking.test_store import DRAFT, again

from admire_pipeline.tracking import history
from admire_pipeline.tracking.cache import SHARED
from admire_pipeline.tracking.ledger import LEDGER
from admire_pipeline.tracking.server import resolve_tracking_uri
from admire_pipeline.tracking.store import HISTORY_FOLDER, CampaignStore
from admire_pipeline.tracking.trial import Observation


def finish(store: CampaignStore, *scores: float) -> None:
    for number, score in enumerate(scores):
        store.open(replace(DRAFT, cost=0.01 * (number + 1)))
        store.observe(Observation({"score": score}, {}))
        store.finish()


def history_file(store: CampaignStore) -> Path:
    (file,) = (store.project / HISTORY_FOLDER).glob("*.jsonl")
    return file


def ledger_of(store: CampaignStore) -> str:
    return str(store.client.get_experiment(store.experiment).tags[LEDGER])


def shared_file(store: CampaignStore) -> Path:
    uri = store.client.get_run(ledger_of(store)).info.artifact_uri
    return Path(str(uri).removeprefix("file://")) / SHARED


@pytest.fixture
def new_machine(store: CampaignStore, tmp_path_factory: pytest.TempPathFactory) -> CampaignStore:
    """One that has read nothing yet, of the same tracking store."""
    uri = resolve_tracking_uri(store.settings, store.project)
    settings = store.settings.model_copy(update={"tracking_uri": uri})
    return CampaignStore(settings, tmp_path_factory.mktemp("other"), CONFIG)


@pytest.fixture
def pages(store: CampaignStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each search has found."""
    sizes: list[int] = []
    client = type(store.client)
    search = client.search_runs

    def counted(*arguments: object, **named: object) -> object:
        found = search(*arguments, **named)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(client, "search_runs", counted)
    return sizes


def test_ended_trials_are_read_once(
    store: CampaignStore, pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, 0.0, 1.0, 2.0)
    before = again(store).trials()
    other = again(store)
    pages.clear()
    assert other.trials() == before
    assert pages == [0, 0], "none is open, none deleted"
    monkeypatch.setattr(history, "PAGE", 2)
    monkeypatch.setattr(history, "CHUNK", 2)
    history_file(store).unlink()
    assert again(store).trials() == before, "whatever comes at once"
    other.client.delete_run(before[1].run_id)
    assert [trial.score for trial in again(store).trials()] == [0.0, 2.0]
    other.client.restore_run(before[1].run_id)
    assert again(store).trials() == before


def test_an_idle_campaign_is_read_once_for_a_turn(store: CampaignStore, pages: list[int]) -> None:
    finish(store, 0.0, 1.0)
    _ = again(store).trials()
    worker = again(store)
    _ = worker.client
    pages.clear()
    assert worker.take_up() is None
    assert len(worker.trials()) == 2, "the policy proposes by it"
    assert pages == [0, 0], "none is open, none deleted"
    worker.open(DRAFT)
    assert [len(worker.trials()), pages[2:]] == [3, [1, 0]], "its own is new"


def test_trials_that_are_nowhere_do_not_fill_a_machine_with_copies(
    store: CampaignStore, new_machine: CampaignStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mlflow gc` leaves them: in the ledger, and missing whenever it is read."""
    monkeypatch.setattr(history, "SHARE", 2)
    finish(store, 0.0, 1.0, 2.0, 3.0)
    for trial in store.trials()[:2]:
        store.client.delete_run(trial.run_id)
        store.client._tracking_client.store._hard_delete_run(trial.run_id)
    for _ in range(4):
        worker = again(new_machine)
        assert {2.0, 3.0} <= {trial.score for trial in worker.trials()}
        assert len(history_file(worker).read_bytes().splitlines()) <= 4


def test_a_history_file_that_was_cut_off_is_read_anew(store: CampaignStore) -> None:
    finish(store, 0.0, 1.0)
    before = store.trials()
    file = history_file(store)
    lines = [line.partition(" ")[2] for line in file.read_text().splitlines()]
    assert [json.loads(line)["score"] for line in lines] == [0.0, 1.0]
    file.write_text(file.read_text()[:-20])
    assert again(store).trials() == before


def _line(text: bytes) -> bytes:
    return b"%08x %s\n" % (crc32(text), text)


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe", b"0 [[[[", b"12345678 {}", _line(b"{}"), _line(b"[]"), _line(b"1"), b"\n"],
)
def test_a_damaged_history_file_is_read_anew(store: CampaignStore, damage: bytes) -> None:
    finish(store, 1.5)
    before = store.trials()
    file = history_file(store)
    whole = file.read_bytes()
    for content in (whole + damage, whole.replace(b"1.5", b"7.5")):
        file.write_bytes(content)
        assert again(store).trials() == before


def test_a_new_machine_reads_what_others_have_shared(
    store: CampaignStore,
    new_machine: CampaignStore,
    pages: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "SHARE", 2)
    finish(store, 0.0, 1.0, 2.0, 3.0)
    _ = store.trials()
    finish(store, 4.0)
    before = store.trials()
    assert len(shared_file(store).read_text().splitlines()) == 4
    pages.clear()
    assert new_machine.trials() == before
    assert pages == [0, 0, 1], "none is open, none deleted, one that nobody has shared"
    pages.clear()
    assert again(new_machine).trials() == before
    assert pages == [0, 0], "what was shared is kept on this machine too"


def test_what_is_removed_for_ever_is_not_shared_again(
    store: CampaignStore, new_machine: CampaignStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SHARE", 4)
    finish(store, 0.0, 1.0, 2.0, 3.0)
    store.client.delete_run(store.trials()[1].run_id)
    left = again(store).trials()
    gone = set(_run_ids(store)) - {trial.run_id for trial in left}
    assert len(gone) == 1
    # As `mlflow gc` does.
    store.client._tracking_client.store._hard_delete_run(gone.pop())
    finish(store, 4.0)
    assert [trial.score for trial in new_machine.trials()] == [0.0, 2.0, 3.0, 4.0]


def _run_ids(store: CampaignStore) -> list[str]:
    return list(store.client.get_run(ledger_of(store)).data.params.values())


def test_workers_of_one_folder_do_not_fill_it_with_copies(store: CampaignStore) -> None:
    finish(store, 0.0, 1.0, 2.0)
    history_file(store).unlink()
    others = [again(store) for _ in range(3)]
    for other in others:  # before the trials are in the file
        _ = other._history
    before = [other.trials() for other in others][0]
    assert len(history_file(store).read_bytes().splitlines()) == 9
    assert again(store).trials() == before
    assert len(history_file(store).read_bytes().splitlines()) == 3


def test_nothing_of_it_is_kept_outside_the_project(
    store: CampaignStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(history, "SHARE", 2)
    finish(store, 0.0, 1.0)
    _ = store.trials()
    assert shared_file(store).is_relative_to(store.project) and shared_file(store).exists()
    assert not list(elsewhere.iterdir())


def test_a_new_machine_leaves_out_what_was_deleted(
    store: CampaignStore, new_machine: CampaignStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SHARE", 2)
    finish(store, 0.0, 1.0, 2.0, 3.0)
    store.client.delete_run(store.trials()[1].run_id)
    assert [trial.score for trial in new_machine.trials()] == [0.0, 2.0, 3.0]


def _damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _emptied(file: Path) -> None:
    file.write_text("")


def _not_to_be_had(file: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.write_text("no folder")


def _pending(file: Path) -> None:
    text = file.read_bytes().splitlines()[0].partition(b" ")[2]
    file.write_bytes(_line(text.replace(b'"observed"', b'"pending"')))


@pytest.mark.parametrize(
    "fault",
    [_damaged, _emptied, _pending, _not_to_be_had],
)
def test_what_is_shared_is_never_needed(
    store: CampaignStore,
    new_machine: CampaignStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Path], None],
) -> None:
    monkeypatch.setattr(history, "SHARE", 2)
    finish(store, 0.0, 1.0)
    before = store.trials()
    fault(shared_file(store))
    assert new_machine.trials() == before
    finish(store, 2.0, 3.0)
    assert [trial.score for trial in store.trials()] == [0.0, 1.0, 2.0, 3.0]
    said = (r for r in caplog.records if r.name.startswith("admire_pipeline"))
    lines = [record for record in said if record.levelno >= logging.WARNING]
    assert bool(lines) == (fault is not _emptied)
    assert all(len(line.getMessage().splitlines()) == 1 for line in lines)


def test_without_room_for_temporary_files(
    store: CampaignStore,
    new_machine: CampaignStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    finish(store, 0.0, 1.0)
    before = store.trials()
    monkeypatch.setattr(history, "SHARE", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert new_machine.trials() == before, "it fetches and shares in vain"
