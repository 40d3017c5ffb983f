"""A trained model as lm-evaluation-harness sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus.chat import turn_end
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.corpus.tokenizer import BYTES, load_pretrained, split_revision
from admire_pipeline.training.corpus.tokenizer import load_tokenizer as load_corpus_tokenizer
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

    Args:
        turn_end: What ends an answer besides what the task says, as text; empty: nothing does.
        arguments: Of `HFLM`.
    """

    def __init__(self, turn_end: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self._turn_end = turn_end
        self._last_tokens = {self.eot_token_id}
        if turn_end:
            end = self.tokenizer.encode(turn_end, add_special_tokens=False)
            # Ordinary ones may stand in an answer, too: of these, the harness finds the text.
            self._last_tokens |= {t for t in end if not self.tokenizer.decode([t], True)}

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """See `HFLM`."""
        return self._spread(super().loglikelihood, requests)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """See `HFLM`."""
        return self._spread(super().loglikelihood_rolling, requests)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """See `HFLM`; an answer ends with the assistant's turn too."""
        if self._turn_end:
            requests = [self._until_turn_end(request) for request in requests]
        return self._spread(super().generate_until, requests)

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """See `HFLM`; of an answer, what comes before the end of text or of the turn.

        The others of a batch may take longer, and this one goes on until they are done. The harness
        cuts it at the text of its end, but of special tokens there is none left by then.
        """
        if skip_special_tokens and isinstance(tokens, list):
            ends = (i for i, token in enumerate(tokens) if token in self._last_tokens)
            tokens = tokens[: next(ends, None)]
        return str(super().tok_decode(tokens, skip_special_tokens))

    def _until_turn_end(self, request: Instance) -> Instance:
        prompt, settings, *more = request.arguments
        until = settings.get("until") or []
        until = [*([until] if isinstance(until, str) else until), self._turn_end]
        return replace(request, arguments=(prompt, {**settings, "until": until}, *more))

    @staticmethod
    def _spread(answer: Any, requests: list[Any]) -> list[Any]:
        silent = not is_main()
        return spread(lambda share: answer(share, disable_tqdm=silent), requests)


def wrap_model(
    model: PreTrainedModel, tokenizer: str, batch_size: int, chat: bool = False
) -> SharedLM:
    """The model for the harness.

    Args:
        model: A causal language model.
        tokenizer: The corpus'.
        batch_size: Prompts in one forward pass.
        chat: Its answers are turns of a chat.

    Raises:
        UserError: If the tokenizer cannot be loaded, or of a chat no answer can be told.
    """
    known = load_tokenizer(tokenizer)
    with quiet():
        return SharedLM(
            turn_end=find_turn_end(tokenizer) if chat else "",
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
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer() if name == BYTES else load_pretrained(*split_revision(name))


def find_turn_end(tokenizer: str) -> str:
    """What a model that was trained on the corpus ends its answers with; see `turn_end`.

    Raises:
        UserError: If the chat template does not tell an answer from the rest.
    """
    try:
        return turn_end(load_corpus_tokenizer(tokenizer).render_chat)
    except Exception as error:  # templates are programs, and raise what they like
        raise UserError(
            f"evaluation.chat: the chat template of corpus.tokenizer={tokenizer!r} does not say "
            f"what an answer is ({one_line(error)}); allowed: false, or a tokenizer whose does"
        ) from error


def _ends_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id)
