"""A trained model as lm-evaluation-harness sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM  # type: ignore[import-untyped]

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.corpus.tokenizer import BYTES, split_revision
from admire_pipeline.training.device import has_bf16
from admire_pipeline.training.harness.quiet import quiet
from admire_pipeline.training.processes import is_main, spread

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class SharedLM(HFLM):
    """Each process of a launch answers its share of the requests and gets the others' answers.

    So the harness is the same in every process and knows of one: prompts, few-shot examples and
    results do not depend on how many there are. Its own way of sharing takes no loaded model, draws
    other examples for each number of processes, and shares nothing among CPUs.
    """

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """See `HFLM`."""
        return self._spread(super().loglikelihood, requests)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """See `HFLM`."""
        return self._spread(super().loglikelihood_rolling, requests)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """See `HFLM`."""
        return self._spread(super().generate_until, requests)

    @staticmethod
    def _spread(answer: Any, requests: list[Any]) -> list[Any]:
        silent = not is_main()
        return spread(lambda share: answer(share, disable_tqdm=silent), requests)


def wrap_model(model: PreTrainedModel, tokenizer: str, batch_size: int) -> SharedLM:
    """The model for the harness.

    Args:
        model: A causal language model.
        tokenizer: The corpus'.
        batch_size: Prompts in one forward pass.
    """
    known = load_tokenizer(tokenizer)
    with quiet():
        return SharedLM(
            pretrained=model,
            tokenizer=known,
            batch_size=batch_size,
            # As in training and validation: weights in float32, products in bfloat16 on a GPU.
            mixed_precision_dtype=torch.bfloat16 if has_bf16() else None,
            softmax_dtype=torch.float32,
            # A tokenizer that ends each text (ByT5's) would put that end between prompt and answer,
            # and the harness would take the answer to begin one token late.
            add_bos_token=False if _ends_texts(known) else None,
        )


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The corpus' tokenizer as one of transformers, which the harness needs.

    Raises:
        UserError: If it cannot be loaded.
    """
    from transformers import AutoTokenizer, ByT5Tokenizer

    if name == BYTES:
        return ByT5Tokenizer()
    try:
        place, revision = split_revision(name)
        return AutoTokenizer.from_pretrained(
            place, revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:
        raise UserError(
            f"corpus.tokenizer: cannot load {name!r} ({one_line(error)}); allowed: {BYTES}, or a "
            "folder or Hub name that transformers' AutoTokenizer loads"
        ) from error


def _ends_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id)
