"""What is looked for on this machine, and found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from admire_pipeline.training.available import need_domain, need_model, need_tokenizer
from admire_pipeline.training.corpus import prepare_corpus
from admire_pipeline.training.settings import ModelSettings
from tests.training.corpus.texts import documents, settings, write_rows

COMMIT = "0123456789abcdef"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def download(hub: Path, repository: str, *files: str) -> None:
    """Put files where huggingface_hub keeps what it downloaded."""
    folder = hub / repository
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for file in files:
        path = folder / "snapshots" / COMMIT / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def corpus_of(domain: dict[str, Any], **other: Any) -> Any:
    return settings({"a": domain, "b": {"path": "b.jsonl"}}, **other)


def test_the_cache_is_where_huggingface_hub_keeps_it(hub: Path) -> None:
    from huggingface_hub import try_to_load_from_cache

    download(hub, "models--team--model", "config.json")
    assert try_to_load_from_cache("team/model", "config.json", cache_dir=hub) is not None


@pytest.mark.parametrize("revision", [None, COMMIT, "other"])
def test_a_model_of_the_hub(hub: Path, revision: str | None) -> None:
    model = ModelSettings(checkpoint="team/model", revision=revision)
    need = need_model("small", model)
    assert need is not None and not need.found
    assert (need.source, need.revision, need.place) == ("team/model", revision, "Hub cache")
    download(hub, "models--team--model", "config.json")
    need = need_model("small", model)
    assert need is not None and not need.found  # no weights
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for file in ("model.safetensors.index.json", parts[0]):
        download(hub, "models--team--model", file)
    index = hub / "models--team--model" / "snapshots" / COMMIT / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": parts[0], "b": parts[1]}}))
    need = need_model("small", model)
    assert need is not None and not need.found  # the download broke off
    download(hub, "models--team--model", parts[1])
    need = need_model("small", model)
    assert need is not None and need.found is (revision != "other")


def test_a_model_in_a_folder(tmp_path: Path) -> None:
    model = ModelSettings(checkpoint=str(tmp_path))
    need = need_model("small", model)
    assert need is not None and not need.found
    (tmp_path / "model.safetensors").touch()
    need = need_model("small", model)
    assert need is not None and need.found and need.revision == ""


def test_nothing_to_look_for(tmp_path: Path) -> None:
    assert need_model("small", ModelSettings(config={"model_type": "llama"})) is None
    assert need_tokenizer(corpus_of({"embedded": "python"}), tmp_path) is None


def test_a_tokenizer(hub: Path, tmp_path: Path) -> None:
    corpus = corpus_of({"embedded": "python"}, tokenizer="team/model")
    need = need_tokenizer(corpus, tmp_path)
    assert need is not None and not need.found and need.revision is None
    download(hub, "models--team--model", "tokenizer.json")
    need = need_tokenizer(corpus, tmp_path)
    assert need is not None and need.found


def test_files_of_a_dataset(hub: Path, tmp_path: Path) -> None:
    domain = {"huggingface": "team/data", "files": ["train/web*", "more/*"], "revision": COMMIT}

    def found() -> bool:
        return need_domain("a", corpus_of(domain), tmp_path / "corpus", tmp_path).found

    assert not found()
    download(hub, "datasets--team--data", "README.md", "train/books-0.jsonl")
    assert not found()
    download(hub, "datasets--team--data", "train/web-0.jsonl")
    assert found()
    need = need_domain("a", corpus_of({**domain, "revision": None}), tmp_path, tmp_path)
    assert need.revision is None and need.found
    domain = {"huggingface": "team/other", "max_bytes": 10}
    need = need_domain("a", corpus_of(domain), tmp_path / "corpus", tmp_path)
    assert (need.found, need.place) == (False, "the Hub, as far as max_bytes")


def test_files_of_the_users_and_what_is_built_of_them(tmp_path: Path) -> None:
    write_rows(tmp_path / "b.jsonl", documents(20, seed=1))
    corpus = corpus_of({"path": "a*.jsonl"})

    def need() -> Any:
        return need_domain("a", corpus, tmp_path / "corpus", tmp_path)

    assert (need().found, need().place) == (False, "no file matches a*.jsonl")
    write_rows(tmp_path / "a1.jsonl", documents(20))
    assert (need().found, need().place) == (True, "1 file, 0 MB")
    prepare_corpus(corpus, tmp_path / "corpus", tmp_path)
    assert (need().found, need().place, need().source) == (True, "prepared", "a*.jsonl")
    write_rows(tmp_path / "a2.jsonl", documents(20, seed=2))
    assert need().place == "2 files, 0 MB"
