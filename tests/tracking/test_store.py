"""The campaign's store against a real MLflow with SQLite."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from tests.tracking.conftest import CONFIG

from admire_pipeline.credentials import masked
from admire_pipeline.errors import UserError
from admire_pipeline.tracking import CampaignSettings, TrialDraft, TrialStatus
from admire_pipeline.tracking.catalog import OpenTrialDataset
from admire_pipeline.tracking.ledger import EXPERIMENT
from admire_pipeline.tracking.run_format import TAG_LIMIT, lineage_tag
from admire_pipeline.tracking.store import CampaignStore
from admire_pipeline.tracking.trial import Observation

DRAFT = TrialDraft(
    mixture={"a": 0.1 + 0.2, "b b": 1 - (0.1 + 0.2)},
    fidelity="nano",
    cost=0.1,
    policy="admire",
    phase="search",
    acquisition_value=math.pi,
    based_on=("x" * 32, "y" * 32),
    campaign_seed=1,
    recipe="r" * 64,
)


def again(store: CampaignStore) -> CampaignStore:
    """The store as another session of this process sees it."""
    return CampaignStore(store.settings, store.project, CONFIG)


def as_other_process(project: Path, code: str) -> subprocess.CompletedProcess[str]:
    script = (
        "from pathlib import Path\n"
        "from admire_pipeline.tracking import CampaignSettings, TrialDraft\n"
        "from admire_pipeline.tracking.store import CampaignStore\n"
        "store = CampaignStore(CampaignSettings(name='c', budget=3, seed=1), "
        f"Path({str(project)!r}), {CONFIG!r})\n{code}"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )


def test_finished_trial_reads_back_bit_for_bit(store: CampaignStore) -> None:
    opened = store.open(DRAFT)
    run = store.client.get_run(opened.run_id)
    assert run.info.status == "RUNNING"
    assert {k: float(v) for k, v in run.data.params.items() if k.startswith("mixture.")} == {
        "mixture.a": 0.1 + 0.2,
        "mixture.b b": 1 - (0.1 + 0.2),
    }
    assert run.data.params["fidelity"] == "nano"
    assert run.data.tags["admire.based_on"] == "y" * 32 + "," + "x" * 32
    assert float(run.data.tags["admire.acquisition_value"]) == math.pi
    assert store.trials()[0].status is TrialStatus.PENDING

    metrics = {"score": -3.25, "cost": 0.1, "eval.bits_per_byte.a": 3.25}
    store.observe(Observation(metrics, {"tokens": 8}))
    store.finish()

    (trial,) = store.trials()
    expected = replace(
        opened, status=TrialStatus.OBSERVED, score=-3.25, metrics={"bits_per_byte.a": 3.25}
    )
    assert trial == expected
    assert store.client.get_run(trial.run_id).info.status == "FINISHED"


def test_what_a_trial_is_made_from_is_logged_when_it_is_opened(store: CampaignStore) -> None:
    many = {f"data.revision.domain {i}": f"{i:016x}" for i in range(150)}
    origin = {"model.checkpoint": "org/name", "model.revision": "f" * 40, **many}
    opened = store.open(replace(DRAFT, provenance=origin))
    assert opened.provenance == origin
    params = store.client.get_run(opened.run_id).data.params
    assert origin.items() <= params.items()
    assert store.trials() == [opened]
    assert json.loads((store.folder(opened) / "trial.json").read_text())["provenance"] == origin


def test_what_was_not_logged_before_a_kill_is_logged_when_taken_up(store: CampaignStore) -> None:
    opened = store.open(DRAFT)
    dataset = OpenTrialDataset()
    dataset.bind(store)
    origin = {"model.revision": "config", "data.revision.a": "0" * 16}
    for _ in range(2):
        dataset.save(replace(opened, provenance=origin))
    assert store.trials()[0].provenance == origin


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"training_seconds": 30.0, "evaluation_seconds": 2.5}, 32.5),
        ({"training_seconds": 30.0, "evaluation_seconds": 2.5, "devices": 8.0}, 260.0),
        ({"training_seconds": 30.0}, None),
        ({"evaluation_seconds": 2.5}, None),
    ],
)
def test_seconds_of_a_trial(
    store: CampaignStore, metrics: dict[str, float], expected: float | None
) -> None:
    """Known only where both parts are, and of an evaluated trial."""
    store.open(DRAFT)
    store.log_metrics(metrics)
    assert store.trials()[0].device_seconds is None
    store.observe(Observation({"score": -1.0}, {}))
    assert store.trials()[0].device_seconds == expected


def test_files_of_a_trial(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    folder = store.folder(trial)
    assert json.loads((folder / "trial.json").read_text())["mixture"] == dict(DRAFT.mixture)
    names = [file.path for file in store.client.list_artifacts(trial.run_id)]
    assert names == ["config.yaml"]


def test_a_living_process_keeps_its_trial(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    assert store.claim() == trial
    assert again(store).claim() is None


def test_a_dead_process_loses_its_trial(store: CampaignStore, tmp_path: Path) -> None:
    script = f"store.open({DRAFT!r}); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert as_other_process(tmp_path, script).returncode == -9
    (left,) = store.trials()
    assert left.status is TrialStatus.PENDING

    taken = store.claim()

    assert taken is not None and taken.run_id == left.run_id and taken.mixture == DRAFT.mixture
    assert taken.seed == left.seed
    store.observe(Observation({"score": 1.0}, {}))
    store.finish()
    assert [run.status for run in again(store).trials()] == [TrialStatus.OBSERVED]


def test_killed_between_run_and_parameters(store: CampaignStore, tmp_path: Path) -> None:
    """The proposal is in the run from its first moment: nothing else is needed to go on."""
    script = (
        "import os, signal\n"
        "CampaignStore._take = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"store.open({DRAFT!r})"
    )
    assert as_other_process(tmp_path, script).returncode == -9
    trial = store.claim()
    assert trial is not None
    params = store.client.get_run(trial.run_id).data.params
    assert params["mixture.a"] == repr(0.1 + 0.2)


@pytest.mark.parametrize(("interrupted", "status"), [(True, "KILLED"), (False, "SCHEDULED")])
def test_released_trial_is_taken_up(store: CampaignStore, interrupted: bool, status: str) -> None:
    trial = store.open(DRAFT)
    store.release(interrupted=interrupted)
    assert store.client.get_run(trial.run_id).info.status == status
    assert store.trials()[0].status is TrialStatus.PENDING
    assert again(store).claim() == trial
    assert store.client.get_run(trial.run_id).info.status == "RUNNING"


def test_failed_trial_keeps_cost_and_reason(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    store.fail("the score is nan")
    run = store.client.get_run(trial.run_id)
    assert run.info.status == "FAILED"
    assert run.data.metrics["cost"] == DRAFT.cost
    assert run.data.tags["admire.reason"] == "the score is nan"
    assert store.trials()[0].status is TrialStatus.FAILED
    assert again(store).claim() is None


def test_evaluated_trial_counts_before_it_is_ended(store: CampaignStore) -> None:
    trial = store.open(DRAFT)
    store.observe(Observation({"score": 1.0}, {}))
    assert store.trials()[0].status is TrialStatus.OBSERVED
    # What comes after, a recommendation say, does not cost the trial its score.
    store.fail("the recommendation raised")
    assert store.client.get_run(trial.run_id).info.status == "FINISHED"
    assert store.trials()[0].status is TrialStatus.OBSERVED
    assert again(store).claim() is None


def test_killed_after_the_score_is_ended_by_the_next_process(
    store: CampaignStore, tmp_path: Path
) -> None:
    script = (
        "import os, signal\nfrom admire_pipeline.tracking.trial import Observation\n"
        f"store.open({DRAFT!r}); store.observe(Observation({{'score': 1.0}}, {{}}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert as_other_process(tmp_path, script).returncode == -9
    assert store.trials()[0].status is TrialStatus.OBSERVED
    trial = store.claim()
    assert trial is not None and trial.score == 1.0
    store.finish()
    assert store.client.get_run(trial.run_id).info.status == "FINISHED"


def test_trial_that_could_not_be_marked_is_taken_up_again_by_the_same_process(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = store.open(DRAFT)

    def away(*_: object, **__: object) -> None:
        raise MlflowException("away")

    with monkeypatch.context() as broken:
        broken.setattr(store.client, "log_batch", away)
        with pytest.raises(MlflowException):
            store.release(interrupted=True)
    assert store.client.get_run(trial.run_id).info.status == "RUNNING"
    assert again(store).claim() == trial


def test_fetched_file_is_whole_or_not_there(
    store: CampaignStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = store.open(DRAFT)
    target = store.folder(trial) / "plan.json"
    target.write_text("{}")
    store.log_artifact(target)
    target.unlink()
    download = type(store.client).download_artifacts

    def cut_off(*arguments: str) -> None:
        download(store.client, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(store.client, "download_artifacts", cut_off)
        with pytest.raises(KeyboardInterrupt):
            store.fetch_artifact(target)
    assert not target.exists()
    assert store.fetch_artifact(target)
    assert target.read_text() == "{}"


def test_runs_of_others_are_no_trials(store: CampaignStore) -> None:
    store.client.create_run(store.experiment, run_name="a user's own")
    assert store.trials() == []
    assert store.claim() is None


def test_no_open_trial_is_one_line(store: CampaignStore) -> None:
    with pytest.raises(UserError, match="campaign 'c' has no open trial"):
        store.current()


def test_too_many_domains_open_no_run(store: CampaignStore) -> None:
    mixture = {f"domain-{i}" * 5: 1 / 300 for i in range(300)}
    with pytest.raises(UserError, match=r"corpus\.domains: 300 domains .* allowed: 6000"):
        store.open(replace(DRAFT, mixture=mixture))
    assert store.trials() == []


def test_lineage_keeps_the_latest_that_fit() -> None:
    runs = tuple(f"{i:032d}" for i in range(1000))
    tag = lineage_tag(runs)
    assert TAG_LIMIT - 33 < len(tag) <= TAG_LIMIT
    assert tag.split(",")[:2] == [runs[-1], runs[-2]]


def test_unreachable_server(tmp_path: Path) -> None:
    settings = CampaignSettings(
        name="c", budget=1, seed=0, tracking_uri="http://user:secret@127.0.0.1:9", server_timeout=2
    )
    with pytest.raises(
        UserError, match=r"campaign\.tracking_uri: cannot use 'http://127"
    ) as caught:
        _ = CampaignStore(settings, tmp_path, CONFIG).client
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite:////proc/none.db", "postgresql://u:se@cret@127.0.0.1:9/x"])
def test_unreachable_database(tmp_path: Path, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = CampaignSettings(name="c", budget=1, seed=0, tracking_uri=uri, server_timeout=2)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"campaign\.tracking_uri: cannot use") as caught:
        _ = CampaignStore(settings, tmp_path, CONFIG).client
    assert time.monotonic() - began < 20, "MLflow alone would retry for minutes"
    assert "cret" not in str(caught.value)
    said = [r.name for r in caplog.records if r.levelname == "WARNING"]
    assert not [name for name in said if not name.startswith("urllib3")]  # see tests.logs


def test_relative_database_is_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = CampaignSettings(name="c", budget=1, seed=0, tracking_uri="sqlite:///data/x.db")
    project = tmp_path / "project"
    assert CampaignStore(settings, project, CONFIG).trials() == []
    assert (project / "data" / "x.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.4])
def test_killed_while_the_database_is_made(
    settings: CampaignSettings, tmp_path: Path, delay: float
) -> None:
    """MLflow makes its tables in some hundred statements: half of them would be of no use."""
    script = (
        "import os, signal, threading, time\n"
        "import mlflow.store.tracking.sqlalchemy_store\n"
        "def kill():\n"
        "    while not list(store.project.glob('data/mlflow/mlflow.db*')):\n"
        "        time.sleep(0.001)\n"
        f"    time.sleep({delay})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=kill).start()\n"
        "store.client"
    )
    assert as_other_process(tmp_path, script).returncode == -9
    store = CampaignStore(settings, tmp_path, CONFIG)
    store.open(DRAFT)
    assert len(store.trials()) == 1


def test_git_commit_is_recorded(store: CampaignStore, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y.z"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    tags = store.client.get_run(store.open(DRAFT).run_id).data.tags
    assert tags["mlflow.source.git.commit"] == commit


def test_secrets_of_the_tracking_uri_are_not_shown() -> None:
    assert masked("http://user:pa@ss@host:5000/x") == "http://host:5000/x"
    assert masked("postgresql://u:p@db/x") == "postgresql://db/x"
    assert masked("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
    assert masked("http://u:p/a#s@s@host/x failed") == "http://host/x failed"
    assert masked("request to http://u:p@host:1/a (http://u:p@host)") == (
        "request to http://host:1/a (http://host)"
    )


def test_deleted_experiment(store: CampaignStore) -> None:
    store.client.delete_experiment(store.experiment)
    with pytest.raises(UserError, match=r"campaign\.name: 'c' is a deleted MLflow experiment"):
        _ = again(store).client


def test_deleted_ledgers(store: CampaignStore) -> None:
    store.open(DRAFT)
    store.release(interrupted=True)
    ledgers = store.client.get_experiment_by_name(EXPERIMENT)
    assert ledgers is not None
    store.client.delete_experiment(ledgers.experiment_id)
    mend = rf"mlflow experiments restore -x {ledgers.experiment_id}`"
    with pytest.raises(UserError, match=mend):
        again(store).trials()
    other = again(store)
    other.settings = store.settings.model_copy(update={"name": "another"})
    with pytest.raises(UserError, match=mend):
        other.trials()
    store.client.restore_experiment(ledgers.experiment_id)
    assert len(again(store).trials()) == 1


def test_a_mistyped_name_begins_no_campaign(store: CampaignStore) -> None:
    store.open(DRAFT)
    settings = store.settings.model_copy(update={"name": "cc"})
    mistyped = CampaignStore(settings, store.project, CONFIG, begins=False)
    with pytest.raises(UserError, match=r"no campaign 'cc' has begun in .*did you mean 'c'\?"):
        mistyped.trials()
    assert store.client.get_experiment_by_name("cc") is None
