from __future__ import annotations

import logging

import pytest

from admire_pipeline.training import provenance as module
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.pretrained import checkpoint_identity
from admire_pipeline.training.provenance import follow_hub, pin_models, provenance
from admire_pipeline.training.settings import FidelitySettings, Ladder, ModelSettings
from tests.logs import ours

NOW, THEN = "a" * 40, "b" * 40


def fidelity(**model) -> FidelitySettings:
    training = {"tokens": 64, "sequence_length": 8, "batch_size": 1, "learning_rate": 0.1}
    return FidelitySettings.model_validate({"cost": 1.0, "model": model, "training": training})


@pytest.fixture
def hub_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub alone is faked, a real one is asked in test_trust: every checkpoint is at NOW."""
    monkeypatch.setattr(module, "checkpoint_identity", lambda _: NOW)


def pinned(*trials: dict[str, str], **model) -> str | None:
    known = [("x", trial) for trial in trials]
    return pin_models(Ladder({"x": fidelity(**model)}), known)["x"].model.revision


def test_a_model_from_scratch_and_files(corpus: Corpus) -> None:
    origin = provenance(corpus, fidelity(config={"model_type": "llama"}))
    assert list(origin) == [
        "model.revision",
        "data.tokenizer",
        "data.revision.letters",
        "data.revision.numbers",
        "data.revision.held_out",
    ]
    assert origin.pop("model.revision") == "config"
    assert origin.pop("data.tokenizer") == "byt5"
    for key, value in origin.items():
        domain = key.removeprefix("data.revision.")
        assert len(value) == 16
        assert corpus.manifest["domains"][domain]["content_hash"].startswith(value)


def test_a_folder_is_known_by_what_it_holds(corpus: Corpus, tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    origin = provenance(corpus, fidelity(checkpoint=str(tmp_path)))
    assert origin["model.checkpoint"] == str(tmp_path)
    assert origin["model.revision"] == checkpoint_identity(ModelSettings(checkpoint=str(tmp_path)))
    (tmp_path / "config.json").write_text("{ }")
    changed = provenance(corpus, fidelity(checkpoint=str(tmp_path)))
    assert changed["model.revision"] != origin["model.revision"]


def test_a_hub_dataset_is_known_by_its_commit(corpus: Corpus) -> None:
    corpus = Corpus(corpus.settings, corpus.folder, corpus.folders, corpus.overlaps)
    corpus.manifest["domains"]["numbers"]["revision"] = THEN
    origin = provenance(corpus, fidelity(config={"model_type": "llama"}))
    assert origin["data.revision.numbers"] == THEN


def test_a_checkpoint_is_pinned_where_it_is_not(
    hub_of_now: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert pinned(checkpoint="org/name", revision=THEN) == THEN
    assert pinned(checkpoint="org/name", revision="v1") == NOW
    assert ours(caplog) == []
    assert pinned(checkpoint="org/name") == NOW
    assert "fidelities.x.model.revision: not pinned; org/name is taken at" in caplog.text
    assert f"set revision: {NOW} to keep it" in caplog.text


def test_a_campaign_stays_at_the_commit_of_its_trials(
    hub_of_now: None, caplog: pytest.LogCaptureFixture
) -> None:
    trials = [
        {"model.revision": "config"},
        {"model.checkpoint": "org/name", "model.revision": THEN},
        {"model.checkpoint": "org/other", "model.revision": "c" * 40},
    ]
    caplog.set_level(logging.WARNING)
    assert pinned(*trials, checkpoint="org/name") == THEN
    assert ours(caplog) == [], "it was said when it was resolved"
    assert pinned(*trials, checkpoint="org/name", revision="v1") == NOW, "the user's word goes"
    assert pinned(*trials, checkpoint="org/new") == NOW


def test_only_the_hub_is_followed(tmp_path) -> None:
    def follows(**model) -> bool:
        return follow_hub(Ladder({"x": fidelity(**model)}))

    assert follows(checkpoint="org/name") and follows(checkpoint="org/name", revision="main")
    assert not follows(checkpoint="org/name", revision=NOW)
    assert not follows(checkpoint=str(tmp_path))
    assert not follows(config={"model_type": "llama"})


@pytest.mark.usefixtures("hub_of_now")
def test_one_repository_at_two_commits() -> None:
    ladder = Ladder(
        {
            "early": fidelity(checkpoint="org/name", revision=THEN),
            "late": fidelity(checkpoint="org/name"),
        }
    )
    trials = [("early", {"model.checkpoint": "org/name", "model.revision": THEN})]
    pinned_ladder = pin_models(ladder, trials)
    assert pinned_ladder["early"].model.revision == THEN
    assert pinned_ladder["late"].model.revision == NOW


@pytest.mark.usefixtures("hub_of_now")
def test_two_fidelities_that_follow_one_repository_stay_together() -> None:
    ladder = Ladder({name: fidelity(checkpoint="org/name") for name in ("a", "b")})
    trials = [("a", {"model.checkpoint": "org/name", "model.revision": THEN})]
    assert {f.model.revision for f in pin_models(ladder, trials).root.values()} == {THEN}
