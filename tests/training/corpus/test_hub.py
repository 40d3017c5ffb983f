from __future__ import annotations

import json
import os
import subprocess
import sys

import datasets
import pytest

from admire_pipeline.training.corpus import CorpusError, hub
from admire_pipeline.training.corpus.chat import Chat
from admire_pipeline.training.corpus.settings import DomainSettings
from admire_pipeline.training.corpus.sources import find_parts, fingerprint, read_documents
from admire_pipeline.training.corpus.tokenizer import ByteTokenizer
from tests.hub import Hub

TEXTS = [f"text {i}" for i in range(50)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def _read(root, **domain) -> list[str]:
    settings = DomainSettings(**domain)
    parts = find_parts("d", settings, root)
    found = [d for part in parts for d in read_documents("d", settings, part, ByteTokenizer())]
    return [d.text if isinstance(d, Chat) else d for d in found]


def test_a_saved_dataset_in_parts(tmp_path, monkeypatch):
    saved = datasets.Dataset.from_dict({"text": TEXTS, "other": list(range(50))})
    datasets.DatasetDict({"good": saved, "train": saved.select([0])}).save_to_disk(tmp_path / "d")
    monkeypatch.setattr(hub, "PART_BYTES", 100)
    assert len(find_parts("d", DomainSettings(huggingface="d", split="good"), tmp_path)) > 3
    assert _read(tmp_path, huggingface="d", split="good") == TEXTS
    assert _read(tmp_path, huggingface="d") == TEXTS[:1]
    with pytest.raises(CorpusError, match=r"d\.split: 'god' is not in d; did you mean 'good'"):
        _read(tmp_path, huggingface="d", split="god")
    with pytest.raises(CorpusError, match=r"d\.text: 'txt' is not a field of d; did you mean 't"):
        _read(tmp_path, huggingface="d", split="good", text="txt")


def test_a_folder_of_files_with_chats(tmp_path):
    folder = tmp_path / "chats"
    folder.mkdir()
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    (folder / "train.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    expected = ["user: hi\n\nassistant: yes"]
    assert _read(tmp_path, huggingface="chats", messages="messages") == expected
    before = fingerprint("d", DomainSettings(huggingface="chats"), tmp_path)
    (folder / "train.jsonl").write_text(json.dumps({"messages": chat * 2}) + "\n")
    assert fingerprint("d", DomainSettings(huggingface="chats"), tmp_path) != before


def test_a_dataset_that_cannot_be_reached(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("Couldn't reach 'team/data'\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        CorpusError,
        match=r"corpus\.domains\.d\.huggingface: cannot load 'team/data', split 'train' "
        r"\(Couldn't reach 'team/data'\); allowed: ",
    ) as error:
        _read(tmp_path, huggingface="team/data")
    assert "\n" not in str(error.value)


def test_name_config_split_and_revision_are_passed_on(tmp_path, monkeypatch):
    seen = []

    def load(*arguments, **options):
        seen.append((arguments, options))
        return datasets.Dataset.from_dict({"text": TEXTS})

    monkeypatch.setattr(datasets, "load_dataset", load)
    _read(tmp_path, huggingface="team/data", config="c", split="s", revision="r")
    assert seen == [(("team/data", "c"), {"split": "s", "revision": "r"})]


def test_a_domain_stays_at_the_commit_it_was_built_from(tmp_path):
    """Without a revision: resolved once, named in the manifest and in one warning.

    In a process of its own: huggingface_hub takes its endpoint when it is imported.
    """
    served = Hub()
    rows = [{"text": text} for text in TEXTS]
    first = served.push("datasets", "team/data", {"train.jsonl": _lines(rows)})
    # Pushed between its resolution and its download.
    served.late = [("datasets", "team/data", {"train.jsonl": _lines(rows[:20])})]
    with served.serving():
        built = _prepare(tmp_path, served.endpoint)
        again = _prepare(tmp_path, served.endpoint)
        pinned = _prepare(tmp_path, served.endpoint, revision=first)
    warning = "corpus.domains.a.revision: not pinned; team/data is taken at its commit of now, set"
    assert built.stdout.split() == again.stdout.split() == pinned.stdout.split()
    assert built.stdout.split()[0] == first and built.stdout.split()[1] == "None"
    assert built.stderr.count(f"{warning} revision: {first} to keep it") == 1
    assert {commit for _, _, commit, _ in served.loaded} == {first} and not served.late
    assert "not pinned" not in again.stderr + pinned.stderr


def _lines(rows):
    return "\n".join(map(json.dumps, rows)).encode()


def _prepare(folder, endpoint, **domain):
    """Prepares a corpus; prints the commit of a Hub domain and of another, and what was read."""
    (folder / "b.txt").write_text("\n".join(f"line {i}" for i in range(50)))
    domains = {
        "a": {"huggingface": "team/data", **domain},
        "b": {"path": "b.txt", "document": "line"},
    }
    code = (
        "import logging; logging.basicConfig(level=logging.WARNING)\n"
        "from pathlib import Path\n"
        "from admire_pipeline.training.corpus import check_settings, prepare_corpus\n"
        f"corpus = prepare_corpus(check_settings({{'domains': {domains!r}, 'workers': 1}}), "
        "Path('corpus'))\n"
        "a, b = (corpus.manifest['domains'][name] for name in 'ab')\n"
        "print(a['revision'], b['revision'], a['documents'], a['content_hash'])"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_hub_that_does_not_answer_names_no_commit(tmp_path, monkeypatch, caplog):
    """The answer alone is faked: the dataset may still be in a cache."""

    def fail(*_, **__):
        raise ConnectionError("nobody there\nmore lines")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    assert hub.resolve_commit("d", DomainSettings(huggingface="team/data"), tmp_path) is None
    assert "the Hub does not tell the commit of team/data (nobody there)" in caplog.text


def test_a_commit_needs_no_hub_and_other_sources_have_none(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", None)
    (tmp_path / "folder").mkdir()
    commit = "0123456789abcdef" * 2 + "01234567"
    for given, expected in (
        ({"huggingface": "team/data", "revision": commit}, commit),
        ({"huggingface": "folder"}, None),
        ({"embedded": "python"}, None),
    ):
        assert hub.resolve_commit("d", DomainSettings(**given), tmp_path) == expected
