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
from admire_pipeline.training.corpus.survey import SurveyJob, copy_documents
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
        r"\(Couldn't reach 'team/data'\); allowed: .* token: set HF_TOKEN, or `hugg",
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


def test_rows_that_are_asked_for(tmp_path, monkeypatch):
    sources = ["ab"[i % 2] for i in range(50)]
    saved = datasets.Dataset.from_dict({"text": TEXTS, "source": sources, "other": TEXTS})
    saved.save_to_disk(tmp_path / "d")
    assert _read(tmp_path, huggingface="d", where={"source": "b"}) == TEXTS[1::2]
    with pytest.raises(
        CorpusError, match=r"d\.where\.source: 'c' is in no row of d; allowed: a, b"
    ):
        _read(tmp_path, huggingface="d", where={"source": "c"})
    with pytest.raises(
        CorpusError, match=r"d\.where: 'sauce' is not a field of d; did you mean 's"
    ):
        _read(tmp_path, huggingface="d", where={"sauce": "b"})
    # Rows that were selected share the table of all: half of it is theirs.
    parts = find_parts("d", DomainSettings(huggingface="d", where={"source": "b"}), tmp_path)
    whole = saved.select_columns(["text", "source"]).data.nbytes
    assert sum(part.size for part in parts) == whole // 2
    monkeypatch.setattr(hub, "PART_BYTES", 100)
    assert _read(tmp_path, huggingface="d", where={"source": "b"}) == TEXTS[1::2]


def _folder_of_files(tmp_path):
    for split, name, texts in (
        ("train", "web-0", TEXTS[:20]),
        ("train", "web-1", TEXTS[20:40]),
        ("train", "books-0", ["no text of the web"]),
        ("valid", "web-0", TEXTS[40:]),
    ):
        (tmp_path / "d" / split).mkdir(parents=True, exist_ok=True)
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / "d" / split / f"{name}.jsonl").write_text(rows)


@pytest.mark.parametrize("limit", [None, 10_000])
def test_files_of_a_dataset(tmp_path, limit):
    _folder_of_files(tmp_path)
    domain = DomainSettings(
        huggingface="d", files="train/web*", validation="valid/web*", max_bytes=limit
    )
    parts = find_parts("d", domain, tmp_path)
    for held_out, expected in ((False, TEXTS[:40]), (True, TEXTS[40:])):
        read = [
            text
            for part in parts
            if part.held_out is held_out
            for text in read_documents("d", domain, part, ByteTokenizer())
        ]
        assert read == expected


def test_files_that_are_not_there(tmp_path):
    _folder_of_files(tmp_path)
    with pytest.raises(CorpusError, match=r"d\.huggingface: cannot load 'd'"):
        _read(tmp_path, huggingface="d", files="train/wiki*")
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "saved")
    with pytest.raises(CorpusError, match=r"d\.files: 'saved' was saved by datasets' save_to_disk"):
        _read(tmp_path, huggingface="saved", files="*.jsonl")


def test_a_limit_reads_no_more_of_a_dataset(tmp_path, monkeypatch):
    seen = []

    def rows():
        for text in TEXTS:
            seen.append(text)
            yield {"text": text}

    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda *_, streaming, **__: streaming and datasets.IterableDataset.from_generator(rows),
    )
    domain = DomainSettings(huggingface="team/data", max_bytes=50)
    job = SurveyJob("d", domain, "byt5", find_parts("d", domain, tmp_path), tmp_path / "copies")
    (chunk,) = copy_documents(job)
    # "text 0" to "text 8" are 54 bytes.
    assert (chunk.documents, chunk.bytes) == (9, 54)
    assert len(seen) <= 10


def test_a_dataset_that_goes_away_while_it_is_read(tmp_path, monkeypatch):
    def rows():
        yield {"text": "one"}
        raise ConnectionError("Connection reset\nmore lines")

    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, **__: datasets.IterableDataset.from_generator(rows)
    )
    with pytest.raises(CorpusError, match=r"cannot read 'team/data' \(Connection reset\); allowed"):
        _read(tmp_path, huggingface="team/data", max_bytes=100)


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
