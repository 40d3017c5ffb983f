"""A prepared corpus: finding what is built, building what is missing, and reading it."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from admire_pipeline.training.corpus import shards
from admire_pipeline.training.corpus.build import STAGING, build_domain
from admire_pipeline.training.corpus.errors import CorpusError, one_line
from admire_pipeline.training.corpus.overlap import find_overlaps, read_overlaps
from admire_pipeline.training.corpus.parallel import Workers
from admire_pipeline.training.corpus.seal import check_seal
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.corpus.sources import fingerprint, stamps
from admire_pipeline.training.corpus.tokenizer import BYTES, Vocabulary, load_tokenizer

RECIPE_VERSION = 4
"""Raised whenever the same sources and settings give other tokens, or files, than before."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """Token shards of all domains, opened when asked for; cheap to pickle (paths only).

    Attributes:
        settings: What it was made from.
        folder: Where it is.
        folders: The folder of each domain.
        overlaps: File that says which training documents are left out, see `overlap`.
    """

    settings: CorpusSettings
    folder: Path
    folders: Mapping[str, Path]
    overlaps: Path

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains to train on, in the order of the settings."""
        return self.settings.trained

    @property
    def validation_domains(self) -> tuple[str, ...]:
        """Domains to evaluate on, in the order of the settings."""
        return self.settings.evaluated

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the corpus holds, JSON-able: `hash` of all its tokens, and `domains`.

        Per domain: `documents`, `bytes` (UTF-8) and `tokens` to train on; the same and `passages`
        under `validation`; `duplicates_dropped`, `near_duplicates` (kept, always on one side),
        `left_out` documents, and `overlapping` ones, which resemble validation documents of another
        domain and are not trained on; `content_hash` of the documents, `tokens_hash` of the shards;
        `recipe`, `built_at`, `seconds`; `revision`, the commit that a Hub dataset was read at.
        """
        domains = {
            name: json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            for name, folder in self.folders.items()
        }
        for name, documents in self._left_out.items():
            domains[name]["overlapping"] = len(documents)
        hashes = {name: domains[name]["tokens_hash"] for name in sorted(domains)}
        tokenizer = domains[self.domains[0]]["tokenizer"]
        return {
            "hash": _hash([tokenizer, hashes]),
            "tokenizer": tokenizer,
            "domains": domains,
        }

    @property
    def vocabulary(self) -> Vocabulary:
        """Size and special tokens of the tokenizer, which is not loaded for this."""
        return Vocabulary(**{k: v for k, v in self.manifest["tokenizer"].items() if k != "name"})

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.vocabulary.size

    @property
    def eos_token_id(self) -> int:
        """The end-of-text token, which stands before every training document."""
        return self.vocabulary.eos_token_id

    @property
    def pad_token_id(self) -> int:
        """The padding token; the end-of-text token where the tokenizer has none."""
        return self.vocabulary.pad_token_id

    def train_tokens(self, domain: str) -> np.ndarray:
        """Training tokens of a domain, flat, memory-mapped, uint16 or uint32.

        Documents stand one after the other, each after an end-of-text token, which so serves as
        the beginning of text; chats as their template begins and ends them.
        """
        return shards.open_tokens(self.folders[domain], shards.TRAIN_TOKENS, self.vocabulary.dtype)

    def train_mask(self, domain: str) -> np.ndarray | None:
        """Which of a domain's training tokens are learned from, uint8; None: all of them.

        Of chats, what the assistant says.
        """
        return shards.open_mask(self.folders[domain], shards.TRAIN_MASK)

    def train_documents(self, domain: str) -> np.ndarray:
        """Where each training document begins (text: at its end-of-text token), and the last's end.

        Returns:
            Positions in `train_tokens`, documents + 1, int64.
        """
        return np.asarray(np.load(self.folders[domain] / shards.TRAIN_OFFSETS, mmap_mode="r"))

    def sequences(self, domain: str, length: int) -> np.ndarray:
        """Which sequences of `length` tokens may be trained on, ascending, int64.

        Sequence `i` has the tokens from `i * length` on. Those that touch a document which
        resembles a validation document of another domain are left out, and those of which nothing
        is learned.
        """
        usable = np.ones(len(self.train_tokens(domain)) // length, bool)
        mask = self.train_mask(domain)
        if mask is not None:
            # The first token of a sequence is not predicted.
            usable &= mask[: len(usable) * length].reshape(-1, length)[:, 1:].any(axis=1)
        offsets = self.train_documents(domain)
        for document in self._left_out[domain]:
            usable[offsets[document] // length : -(-offsets[document + 1] // length)] = False
        return np.flatnonzero(usable)

    def examples(self, domain: str, length: int) -> np.ndarray:
        """Which documents may be trained on as examples of at most `length` tokens, ascending.

        Those that resemble a validation document of another domain are left out, and those of which
        nothing is learned within `length`.

        Returns:
            Their numbers in `train_documents`, int64.
        """
        offsets = self.train_documents(domain)
        # The first token of a document is not predicted.
        begins, ends = offsets[:-1] + 1, np.minimum(offsets[1:], offsets[:-1] + length)
        usable = ends > begins
        usable[self._left_out[domain]] = False
        mask, rows = self.train_mask(domain), np.flatnonzero(usable)
        if mask is None or not len(rows):
            return rows
        # `reduceat` looks between any two places, after the last one at all that is left.
        places = np.stack([begins[rows], ends[rows]], axis=1).ravel()
        places = places[:-1] if places[-1] == len(mask) else places
        return rows[np.maximum.reduceat(mask, places)[::2].astype(bool)]

    @cached_property
    def _left_out(self) -> dict[str, np.ndarray]:
        return read_overlaps(self.overlaps)

    def validation(self, domain: str) -> shards.ValidationShard:
        """Validation passages of a domain."""
        return shards.open_validation(self.folders[domain], self.vocabulary.dtype)

    def check(self) -> None:
        """Check that the shards hold what was built; quick where nobody has touched them.

        Raises:
            CorpusError: If they do not.
        """
        for name, folder in self.folders.items():
            check_seal(name, folder)

    def decode(self, tokens: np.ndarray) -> str:
        """Text of token ids, special tokens shown by name."""
        return load_tokenizer(self.settings.tokenizer).decode(tokens)


def prepare_corpus(settings: CorpusSettings, folder: Path, root: Path | None = None) -> Corpus:
    """Opens the corpus of these settings; domains that are missing or stale are built first.

    A domain lies in a folder of its own that is named after its recipe: settings, tokenizer and
    state of the source. It is built once, whichever process comes first, and never changed after;
    folders of former recipes stay, as a running trial may read them, and can be deleted by hand.

    Args:
        settings: What it is made from.
        folder: Where corpora are kept; made if it is not there.
        root: Where relative paths of sources start; default: the current folder.

    Raises:
        CorpusError: If a source is missing, empty or unreadable, or leaves nothing to train on or
            to evaluate (nothing half-built is left), or shards have changed since they were built.
    """
    root = Path.cwd() if root is None else root.absolute()
    folder = folder.absolute()
    recipes = {name: _recipe(name, settings, root) for name in settings.domains}
    folders = {name: folder / _folder_name(name, recipe) for name, recipe in recipes.items()}
    if settings.tokenizer != BYTES and (root / settings.tokenizer).is_dir():
        settings = settings.model_copy(update={"tokenizer": str(root / settings.tokenizer)})
    overlaps = folder / f"overlaps-{_hash({n: f.name for n, f in folders.items()})[:16]}.json"
    # What is there is complete: it is renamed to its name when it is.
    if not all(path.exists() for path in [*folders.values(), overlaps]):
        _check_script()
        _make_writable(folder)
        with _locked(folder / ".lock"), Workers(settings.processes) as workers:
            for leftover in folder.glob(f"{STAGING}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            for name, path in folders.items():
                if not path.is_dir():
                    build_domain(name, settings, recipes[name], path, root, workers)
            find_overlaps(folders, overlaps)
    corpus = Corpus(settings, folder, folders, overlaps)
    corpus.check()
    return corpus


def is_built(name: str, settings: CorpusSettings, folder: Path, root: Path) -> bool:
    """Whether a domain's shards are there, made from its source as it is now.

    Args:
        name: Of the domain.
        settings: Of the corpus.
        folder: Where corpora are kept.
        root: Where relative paths of sources start.
    """
    try:
        recipe = _recipe(name, settings, root)
    except CorpusError:  # its files are away
        return False
    return (folder / _folder_name(name, recipe)).is_dir()


def _recipe(name: str, settings: CorpusSettings, root: Path) -> dict[str, Any]:
    """Everything that decides the tokens of a domain, JSON-able."""
    return {
        "version": RECIPE_VERSION,
        "tokenizer": stamps(root / settings.tokenizer, root),
        "corpus": settings.model_dump(mode="json", exclude={"domains", "workers"}),
        "domain": _within(settings.domains[name].model_dump(mode="json"), root),
        "source": fingerprint(name, settings.domains[name], root),
    }


def _within(domain: dict[str, Any], root: Path) -> dict[str, Any]:
    """Settings of a domain with paths relative to `root`: Kedro makes some of them absolute."""
    path = domain["path"]
    if isinstance(path, str) and Path(path).is_relative_to(root):
        path = Path(path).relative_to(root).as_posix()
    return {**domain, "path": path}


def _folder_name(name: str, recipe: dict[str, Any]) -> str:
    return f"{re.sub('[^A-Za-z0-9_-]', '_', name)}-{_hash(recipe)[:16]}"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _check_script() -> None:
    # Workers are spawned, and read the script that was run. One that is not guarded prepares the
    # corpus again in each, which would wait for the lock of the process that waits for them.
    # The attribute is what multiprocessing's own check of this reads.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise CorpusError(
            "corpus: a script that loads it is read again by each worker that prepares it; "
            'allowed: below `if __name__ == "__main__":`, or corpus.workers: 1'
        )


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CorpusError(
            f"corpus.filepath: cannot write to {folder} ({one_line(error)}); allowed: a folder "
            "that can be written to"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Waiting for another process that is preparing the corpus")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
