from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from admire_pipeline.training.corpus import Corpus, CorpusError, parallel, prepare_corpus

from .texts import documents, passages, settings, train_texts, write_rows

MANY = 60


@pytest.fixture
def sources(tmp_path) -> Path:
    """A folder with `a.jsonl` and `b.jsonl`."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        write_rows(folder / f"{name}.jsonl", documents(MANY, seed))
    return folder


def _two(**other):
    return settings({name: {"path": f"{name}.jsonl"} for name in "ab"}, **other)


def _bytes(corpus: Corpus) -> dict[str, bytes]:
    return {
        f"{name}/{path.name}": path.read_bytes()
        for name, folder in corpus.folders.items()
        for path in sorted(folder.iterdir())
        if path.name not in ("manifest.json", "seal.json")  # when and how fast it was built
    }


def test_every_document_is_on_one_side_and_whole(sources, tmp_path):
    corpus = prepare_corpus(_two(), tmp_path / "out", sources)
    assert corpus.domains == corpus.validation_domains == ("a", "b")
    for seed, name in enumerate("ab"):
        shard = corpus.validation(name)
        texts = passages(corpus, name)
        assert [len(text.encode()) for text in texts] == shard.bytes.tolist()
        assert max(shard.bytes) <= 64
        held: dict[int, int] = {}
        for document, size in zip(shard.document.tolist(), shard.bytes.tolist(), strict=True):
            held[document] = held.get(document, 0) + size
        trained = train_texts(corpus, name)
        rest = set(documents(MANY, seed)) - set(trained)
        assert len(trained) + len(rest) == MANY
        # Passages of one document, together, are as long as that document.
        assert sorted(held.values()) == sorted(len(text) for text in rest)
        assert all(any(text in document for document in rest) for text in texts)
        manifest = corpus.manifest["domains"][name]
        assert manifest["documents"] == len(trained)
        assert manifest["bytes"] == sum(len(text) for text in trained)
        assert manifest["tokens"] == len(corpus.train_tokens(name))
        assert manifest["validation"] == {
            "documents": len(rest),
            "passages": len(shard),
            "bytes": int(shard.bytes.sum()),
            "tokens": len(shard.tokens),
        }
    json.dumps(corpus.manifest)


def test_shards_are_mapped_read_only_and_cheap_to_pickle(sources, tmp_path):
    corpus = prepare_corpus(_two(), tmp_path / "out", sources)
    tokens = corpus.train_tokens("a")
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint16
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1
    again = pickle.loads(pickle.dumps(corpus))  # noqa: S301
    assert (again.train_tokens("a") == tokens).all()
    assert again.manifest["hash"] == corpus.manifest["hash"]
    assert (corpus.vocab_size, corpus.eos_token_id, corpus.pad_token_id) == (384, 1, 0)


def test_others_may_read_what_one_has_built(sources, tmp_path):
    """Of a shared folder, as the user's umask allows."""
    corpus = prepare_corpus(_two(), tmp_path / "out", sources)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert corpus.folders["a"].stat().st_mode == plain.stat().st_mode


def test_passages_are_in_random_order(sources, tmp_path):
    corpus = prepare_corpus(_two(), tmp_path / "out", sources)
    document = corpus.validation("a").document
    assert not (np.diff(document) >= 0).all()


def test_built_once_and_rebuilt_only_where_something_changed(sources, tmp_path):
    def build(**other) -> tuple[Corpus, dict[str, int]]:
        corpus = prepare_corpus(_two(**other), tmp_path / "out", sources)
        return corpus, {n: f.stat().st_mtime_ns for n, f in corpus.folders.items()}

    first, built = build()
    again, same = build(workers=2)
    assert (again.folders, same) == (first.folders, built)

    write_rows(sources / "b.jsonl", documents(MANY + 1, 1))
    changed, other = build()
    assert other["a"] == built["a"]
    assert changed.folders["b"] != first.folders["b"]
    assert changed.manifest["hash"] != first.manifest["hash"]

    # Newer, but the same text: built again, same hash.
    os.utime(sources / "b.jsonl", ns=(1, 1))
    touched, _ = build()
    assert touched.folders["b"] != changed.folders["b"]
    assert touched.manifest["hash"] == changed.manifest["hash"]

    for setting in ({"seed": 1}, {"passage_bytes": 100}, {"validation_fraction": 0.3}):
        assert not set(build(**setting)[0].folders.values()) & set(touched.folders.values())


def test_the_sources_are_not_read_again(sources, tmp_path, monkeypatch):
    prepare_corpus(_two(), tmp_path / "out", sources)
    from admire_pipeline.training.corpus import corpus as module

    def build_domain(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(module, "build_domain", build_domain)
    prepare_corpus(_two(), tmp_path / "out", sources)


def test_parallel_equals_serial_byte_for_byte(sources, tmp_path, monkeypatch):
    from admire_pipeline.training.corpus import build, files
    from admire_pipeline.training.corpus.survey import SurveyJob

    # Many parts and chunks of a few kB.
    monkeypatch.setattr(files, "PART_BYTES", 5000)
    monkeypatch.setattr(build, "SurveyJob", partial(SurveyJob, chunk_bytes=2000))
    one = prepare_corpus(_two(workers=1), tmp_path / "one", sources)
    monkeypatch.setattr(parallel, "INLINE_BYTES", 0)
    two = prepare_corpus(_two(workers=2), tmp_path / "two", sources)
    assert _bytes(one) == _bytes(two)
    assert one.manifest["hash"] == two.manifest["hash"]
    monkeypatch.undo()
    whole = prepare_corpus(_two(workers=1), tmp_path / "whole", sources)
    assert _bytes(one) == _bytes(whole)


def test_use_and_a_validation_source(sources, tmp_path):
    write_rows(sources / "v.jsonl", [*documents(5, seed=7), documents(1)[0] + " end"])
    corpus = prepare_corpus(
        settings(
            {
                "a": {"path": "a.jsonl", "validation": "v.jsonl"},
                "b": {"path": "b.jsonl", "use": "train"},
                "c": {"path": "a.jsonl", "use": "validation"},
            }
        ),
        tmp_path / "out",
        sources,
    )
    assert corpus.domains == ("a", "b")
    assert corpus.validation_domains == ("a", "c")
    # The one that resembles a validation document does not train.
    assert set(train_texts(corpus, "a")) == set(documents(MANY)[1:])
    assert corpus.manifest["domains"]["a"]["left_out"] == 1
    assert corpus.manifest["domains"]["a"]["validation"]["documents"] == 6
    assert len(train_texts(corpus, "b")) == MANY
    assert len(corpus.validation("b")) == 0
    # All of `a` resembles what `c` is evaluated on.
    assert corpus.manifest["domains"]["a"]["overlapping"] == MANY - 1
    assert corpus.manifest["domains"]["b"]["overlapping"] == 0
    assert len(corpus.sequences("a", 16)) == 0
    assert len(corpus.train_tokens("c")) == 0


def test_what_another_domain_is_validated_on_is_not_trained_on(sources, tmp_path):
    shared = documents(MANY, 0)[:20]
    write_rows(sources / "b.jsonl", documents(MANY, 1) + [f"{text} end" for text in shared])
    corpus = prepare_corpus(_two(), tmp_path / "out", sources)
    held = {name: set(passages(corpus, name)) for name in "ab"}
    trained = {
        name: "".join(
            corpus.decode(corpus.train_tokens(name)[16 * i : 16 * (i + 1)])
            for i in corpus.sequences(name, 16)
        )
        for name in "ab"
    }
    overlapping = 0
    for mine, theirs in ("ab", "ba"):
        mass = corpus.manifest["domains"][mine]["overlapping"]
        overlapping += mass
        # Passages are of 64 bytes, so that a document trained on would show several of them whole.
        assert not [text for text in held[theirs] if len(text) == 64 and text in trained[mine]]
        assert mass == 0 or len(corpus.sequences(mine, 16)) > 0
    assert overlapping > 0, "the example has something to leave out"
    # What is left out is not much more than those documents.
    lengths = {name: len(corpus.train_tokens(name)) for name in "ab"}
    for name in "ab":
        kept = 16 * len(corpus.sequences(name, 16)) / lengths[name]
        documents_kept = 1 - corpus.manifest["domains"][name]["overlapping"] / len(
            train_texts(corpus, name)
        )
        assert kept > documents_kept - 0.15


def test_embedded_text_is_rebuilt_with_another_version(tmp_path, monkeypatch):
    from admire_pipeline.training.corpus.embedded import files

    chosen = settings({"arithmetic": {"embedded": "arithmetic"}, "legal": {"embedded": "legal"}})
    first = prepare_corpus(chosen, tmp_path)
    version = files.metadata.version
    monkeypatch.setattr(files.metadata, "version", lambda n: "9" if n == "tqdm" else version(n))
    second = prepare_corpus(chosen, tmp_path)
    assert first.folders["legal"] != second.folders["legal"]
    assert first.folders["arithmetic"] == second.folders["arithmetic"]


def test_any_other_tokenizer(sources, tmp_path, word_tokenizer):
    shutil.copytree(word_tokenizer, sources / "words")
    (sources / "b.jsonl").write_text('{"text": "hello you"}\n{"text": "you hello"}\n')
    corpus = prepare_corpus(_two(tokenizer="words"), tmp_path / "out", sources)
    assert corpus.vocab_size == 7
    assert corpus.train_tokens("b").tolist() in ([1, 3, 4], [1, 4, 3])
    assert corpus.validation("b").tokens.tolist() in ([3, 4], [4, 3])
    assert passages(corpus, "b")[0] in ("hello you", "you hello")
    assert corpus.manifest["tokenizer"]["name"] == "words"
    # A changed tokenizer makes another corpus.
    os.utime(sources / "words" / "tokenizer.json", ns=(1, 1))
    again = prepare_corpus(_two(tokenizer="words"), tmp_path / "out", sources)
    assert not set(again.folders.values()) & set(corpus.folders.values())


def test_half_a_surrogate_pair_becomes_a_question_mark(sources, tmp_path):
    (sources / "b.jsonl").write_text("".join(f'{{"text": "a\\ud800 {i}"}}\n' for i in range(9)))
    corpus = prepare_corpus(_two(), tmp_path / "out", sources)
    assert all(text.startswith("a? ") for text in train_texts(corpus, "b"))


@pytest.mark.parametrize("content", ["", '{"text": " "}\n'])
def test_an_empty_source(sources, tmp_path, content):
    (sources / "b.jsonl").write_text(content)
    with pytest.raises(CorpusError, match=r"corpus\.domains\.b: has no text; allowed"):
        prepare_corpus(_two(), tmp_path / "out", sources)
    assert sorted(path.name[:2] for path in (tmp_path / "out").iterdir()) == [".l", "a-"]


def test_a_missing_source_is_found_before_another_domain_is_built(sources, tmp_path):
    with pytest.raises(CorpusError, match=r"domains\.b\.path: no file matches"):
        prepare_corpus(
            settings({"a": {"path": "a.jsonl"}, "b": {"path": "none.jsonl"}}),
            tmp_path / "out",
            sources,
        )
    assert not (tmp_path / "out").exists()


def test_errors_of_workers_come_through(sources, tmp_path, monkeypatch):
    (sources / "b.jsonl").write_text('{"txt": "a"}\n')
    monkeypatch.setattr(parallel, "INLINE_BYTES", 0)
    domains = {"a": {"path": "a.jsonl"}, "c": {"path": ["a.jsonl", "b.jsonl"]}}
    with pytest.raises(CorpusError, match=r"domains\.c\.text: 'text' is not a field of .*: txt"):
        prepare_corpus(settings(domains, workers=2), tmp_path / "out", sources)


def test_embedded_domains(tmp_path):
    chosen = {name: {"embedded": name} for name in ("legal", "web", "arithmetic")}
    corpus = prepare_corpus(settings(chosen, validation_fraction=0.05), tmp_path)
    for name in chosen:
        manifest = corpus.manifest["domains"][name]
        assert manifest["bytes"] > 400_000
        assert manifest["validation"]["documents"] >= 8
    assert "Licen" in corpus.decode(corpus.train_tokens("legal")[:200_000])
    assert corpus.manifest["domains"]["legal"]["duplicates_dropped"] > 20
    again = prepare_corpus(settings(chosen, validation_fraction=0.05), tmp_path / "again")
    assert _bytes(again) == _bytes(corpus)


SCRIPT = """
import sys, time
from pathlib import Path
from admire_pipeline.training.corpus import parallel, prepare_corpus, check_settings
from admire_pipeline.training.corpus import build

if __name__ == "__main__":
    parallel.INLINE_BYTES = 0
    gather = build._gather

    def stop(*arguments):
        print("surveyed", flush=True)
        time.sleep(60)

    if sys.argv[1] == "hang":
        build._gather = stop
    domains = {n: {"path": ["a.jsonl", "b.jsonl"]} for n in "ab"}
    settings = check_settings({"domains": domains, "validation_fraction": 0.2, "workers": 2})
    print(prepare_corpus(settings, Path("out"), Path("sources")).manifest["hash"])
"""


def _script(folder: Path, how: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, "script.py", how],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_in_the_middle(sources, tmp_path):
    process = _script(tmp_path, "hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "surveyed\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert any(name.startswith(".building-") for name in left)
    assert not any(name.startswith("a-") for name in left)
    # Its workers end by themselves.
    deadline = time.monotonic() + 10
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(process.pid)

    domains = {name: {"path": ["a.jsonl", "b.jsonl"]} for name in "ab"}
    plain = settings(domains, passage_bytes=4096)
    corpus = prepare_corpus(plain, tmp_path / "out", sources)
    assert not list((tmp_path / "out").glob(".building-*"))
    assert (
        corpus.manifest["hash"] == prepare_corpus(plain, tmp_path / "x", sources).manifest["hash"]
    )


def test_two_processes_at_once_build_it_once(sources, tmp_path):
    both = [_script(tmp_path, "run") for _ in range(2)]
    hashes = {process.communicate(timeout=60)[0] for process in both}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 65
    assert all(process.returncode == 0 for process in both)
    assert sorted(path.name[:2] for path in (tmp_path / "out").iterdir()) == [
        ".l",
        "a-",
        "b-",
        "ov",
    ]


def test_a_limit_of_the_text_that_is_read(sources, tmp_path, monkeypatch):
    texts = documents(MANY)
    limit = len("".join(texts[:10]))

    def build(folder, workers, limit, **more):
        return prepare_corpus(
            settings(
                {
                    "a": {"path": ["a.jsonl", "b.jsonl"], "max_bytes": limit, **more},
                    "b": {"path": "b.jsonl"},
                },
                workers=workers,
            ),
            tmp_path / folder,
            sources,
        )

    one = build("one", 1, limit)
    held = one.manifest["domains"]["a"]["validation"]["documents"]
    trained = train_texts(one, "a")
    assert len(trained) + held == 10 and set(trained) <= set(texts[:10])
    # Neither the number of processes nor where files are cut plays a part.
    from admire_pipeline.training.corpus import files

    monkeypatch.setattr(files, "PART_BYTES", 3000)
    monkeypatch.setattr(parallel, "INLINE_BYTES", 0)
    assert _bytes(build("two", 2, limit)) == _bytes(one)
    assert build("one", 1, limit + 1).folders["a"] != one.folders["a"]
    # Over the end of a file; the limit is one of each side.
    both = build("three", 1, 10**9, validation="b.jsonl")
    assert both.manifest["domains"]["a"]["documents"] == MANY


def test_a_path_is_the_same_wherever_the_project_lies(sources, tmp_path):
    one = prepare_corpus(_two(), tmp_path / "out", sources)
    moved = tmp_path / "moved"
    shutil.copytree(sources, moved)
    absolute = settings({name: {"path": str(moved / f"{name}.jsonl")} for name in "ab"})
    assert prepare_corpus(absolute, tmp_path / "out", moved).folders == one.folders
