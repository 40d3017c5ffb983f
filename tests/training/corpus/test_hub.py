from __future__ import annotations

import json

import datasets
import pytest

from admire_pipeline.training.corpus import CorpusError, hub
from admire_pipeline.training.corpus.chat import Chat
from admire_pipeline.training.corpus.settings import DomainSettings
from admire_pipeline.training.corpus.sources import find_parts, fingerprint, read_documents
from admire_pipeline.training.corpus.tokenizer import ByteTokenizer

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
