"""Checkpoints that fine-tuning starts from, checked before any compute."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from admire_pipeline.errors import UserError
from admire_pipeline.training.cached import find_folder
from admire_pipeline.training.corpus.errors import WHO_ASKS, CorpusError, one_line
from admire_pipeline.training.corpus.hub import is_commit
from admire_pipeline.training.corpus.tokenizer import HuggingFaceTokenizer, load_tokenizer
from admire_pipeline.training.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from admire_pipeline.training.corpus import Corpus

WEIGHTS = "model.safetensors"
"""Of a checkpoint."""
INDEX = f"{WEIGHTS}.index.json"
"""Of a large one: in which files its weights are."""
_WEIGHTS = (WEIGHTS, INDEX)
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")
_PROBE = "Naïve café: 0123456789\n\tif (x == 'y') { return <b>1</b>; }".encode()
_SAMPLE = 1 << 20  # bytes


def checkpoint_config(settings: ModelSettings, key: str) -> PretrainedConfig:
    """The config of a checkpoint that has weights we read.

    Args:
        settings: `checkpoint` is set.
        key: Where it stands in the config, for the message.

    Raises:
        UserError: If there is no checkpoint, none in safetensors format, or one of another shape
            than the config says.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            str(settings.checkpoint), revision=_revision(settings), trust_remote_code=False
        )
        weights = _has_any(settings, _WEIGHTS)
    except Exception as error:
        raise UserError(
            f"{key}: {settings.checkpoint!r} cannot be read ({one_line(error)}); allowed: a folder "
            f"or hub name with safetensors (a private or gated one needs a token: {WHO_ASKS})"
        ) from error
    if not weights:
        # Other formats are pickles, which run code when they are read.
        raise UserError(
            f"{key}: {settings.checkpoint!r} has no {' or '.join(_WEIGHTS)}; "
            "allowed: a folder or hub name with safetensors"
        )
    _check_shape(settings, config, key)
    return config


def cached_config(settings: ModelSettings, key: str) -> PretrainedConfig | None:
    """The config of a checkpoint that is on this machine, without the network; else None.

    Args:
        settings: `checkpoint` is set.
        key: Where it stands in the config, for the message.

    Raises:
        UserError: If it is of another shape than the config says.
    """
    from transformers import AutoConfig

    folder = find_folder(str(settings.checkpoint), settings.revision)
    if folder is None or not (folder / "config.json").is_file():
        return None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"{key}: {settings.checkpoint!r} cannot be read ({one_line(error)}); allowed: a model "
            "that transformers knows"
        ) from error
    _check_shape(settings, config, key)
    return config


def _check_shape(settings: ModelSettings, config: PretrainedConfig, key: str) -> None:
    text = config.get_text_config()
    for name, value in (settings.shape or {}).items():
        theirs = getattr(text, name, None)
        if theirs != value:
            raise UserError(
                f"{key}: {settings.checkpoint!r} has {name}={theirs!r}, its model.shape says "
                f"{value!r}; allowed: the checkpoint's own shape, or none"
            )


def check_tokenizer(settings: ModelSettings, corpus: Corpus, key: str) -> None:
    """Check that the checkpoint and the corpus mean the same by a token.

    A checkpoint without a tokenizer of its own is taken at its word for the end-of-text token.

    Raises:
        UserError: If they do not.
    """
    ours = load_tokenizer(corpus.settings.tokenizer)
    if _has_any(settings, _TOKENIZERS):
        try:
            theirs = HuggingFaceTokenizer(str(settings.checkpoint), _revision(settings))
        except CorpusError as error:
            raise UserError(f"{key}: its tokenizer cannot be used ({error})") from error
        same = theirs.vocabulary.eos_token_id == ours.vocabulary.eos_token_id
        same &= theirs.encode([_PROBE])[0].tolist() == ours.encode([_PROBE])[0].tolist()
    else:
        end = checkpoint_config(settings, key).get_text_config().eos_token_id
        same = ours.vocabulary.eos_token_id in (end if isinstance(end, list) else [end])
    if not same:
        raise UserError(
            f"{key}: {settings.checkpoint!r} was trained on other tokens than those of "
            f"corpus.tokenizer={corpus.settings.tokenizer!r}; allowed: the tokenizer of the "
            "checkpoint"
        )


def checkpoint_identity(settings: ModelSettings) -> str:
    """What tells one state of a checkpoint from another, on every machine.

    Commit of a hub checkpoint; of a folder, names and sizes of its files and the first and last
    1 MiB of each, since a whole 7B model would take a minute to read.

    Raises:
        UserError: If a hub checkpoint cannot be had.
    """
    if settings.on_hub:
        return _hub_commit(settings)
    folder = Path(str(settings.checkpoint))
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(-min(size, _SAMPLE), os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def follows_hub(settings: ModelSettings) -> bool:
    """Whether it is a Hub checkpoint whose name or tag may mean another commit tomorrow."""
    return settings.on_hub and not is_commit(settings.revision)


def _hub_commit(settings: ModelSettings) -> str:
    from transformers.utils.hub import cached_file

    place = str(settings.checkpoint)
    try:
        path = cached_file(place, "config.json", revision=_revision(settings))
    except Exception as error:
        raise UserError(
            f"fidelities: {place!r} cannot be read ({one_line(error)}); "
            "allowed: a folder or hub name with safetensors"
        ) from error
    # The cache, which serves without a network too, names its folders by commit.
    return Path(str(path)).parent.name


def _revision(settings: ModelSettings) -> str:
    return settings.revision or "main"


def _has_any(settings: ModelSettings, names: tuple[str, ...]) -> bool:
    from transformers.utils.hub import has_file

    place, revision = str(settings.checkpoint), _revision(settings)
    return any(has_file(place, name, revision) for name in names)
