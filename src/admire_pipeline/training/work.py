"""What a trial takes: sequences and steps, hours of a GPU, the machine's memory, and disk."""

from __future__ import annotations

from dataclasses import dataclass

from admire_pipeline.training.corpus import CorpusSettings
from admire_pipeline.training.corpus.tokenizer import BYTES, Vocabulary
from admire_pipeline.training.estimate import ADAMW, FLOAT32, Shape, weight_bytes
from admire_pipeline.training.settings import FidelitySettings, LaunchSettings, TrainingSettings

UTILISATION = 0.4
"""Share of a GPU's peak that trainings reach; `make gpu-check` measured 0.39 to 0.42 on an H200."""

TEXT_BYTES = 4
"""UTF-8 bytes of text that a token of a subword vocabulary stands for: English, about."""


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: Of the product.
        flops: Peak of dense bfloat16 matrix products, FLOP/s.
        memory: Bytes.
    """

    name: str
    flops: float
    memory: float


GPUS = {
    "h100": Gpu("H100 SXM", 989e12, 80e9),
    "h200": Gpu("H200 SXM", 989e12, 141e9),
    "a100": Gpu("A100 80GB SXM", 312e12, 80e9),
    "l40s": Gpu("L40S", 362e12, 48e9),
    "l4": Gpu("L4", 121e12, 24e9),
}
"""By name; peaks without sparsity and memory of NVIDIA's data sheets."""


@dataclass(frozen=True)
class Work:
    """One trial.

    Attributes:
        sequences: Trained on; at most, where examples of unknown length share them.
        tokens: In these.
        steps: Of the optimizer.
        flops: Of the training, recomputed activations left out.
        exact: Whether these are known; else they are upper bounds.
    """

    sequences: int
    tokens: int
    steps: int
    flops: float
    exact: bool


def estimate_work(
    shape: Shape, training: TrainingSettings, example_tokens: int | None = None
) -> Work:
    """What one trial trains on.

    Args:
        shape: Of the model.
        training: The recipe.
        example_tokens: Mean tokens of an example where these are counted; None: a whole sequence
            each, which is the most that it can be.
    """
    length = training.sequence_length
    sequences = training.draws
    if training.unit == "examples" and example_tokens is not None:
        sequences = -(-training.draws * min(example_tokens, length) // length)
    tokens = sequences * length
    return Work(
        sequences=sequences,
        tokens=tokens,
        steps=-(-sequences // training.step_sequences),
        flops=tokens * shape.flops,
        exact=training.unit == "tokens" or example_tokens is not None,
    )


def estimate_hours(work: Work, fidelity: FidelitySettings, gpu: Gpu) -> float:
    """Hours of a training at `UTILISATION` of the peak of all its GPUs.

    With checkpointing the forward pass, a third of the FLOPs, is computed twice.
    """
    again = 4 / 3 if fidelity.training.gradient_checkpointing else 1.0
    speed = UTILISATION * gpu.flops * fidelity.launch.processes
    return work.flops * again / speed / 3600


def checkpoint_bytes(shape: Shape, training: TrainingSettings) -> int:
    """Disk of the checkpoints of a training under way, with the one that is being written."""
    one = (FLOAT32 + ADAMW) * shape.trained
    return one * (training.keep_checkpoints + 1)


def model_bytes(shape: Shape) -> int:
    """Disk of a finished model, in float32."""
    return FLOAT32 * shape.parameters


def host_bytes(shape: Shape, launch: LaunchSettings) -> int:
    """The machine's memory for the model: each process holds all of it, before it is spread."""
    return weight_bytes(shape) * launch.processes


@dataclass(frozen=True)
class CorpusDisk:
    """Disk of a corpus as far as `max_bytes` tells, at most.

    Attributes:
        shards: Bytes of the tokens. Hashes of the documents, 256 bytes each, and what is held out
            come on top.
        copies: Bytes of the text that is copied, of one domain at a time, until that is built.
        domains: So many have `max_bytes`.
    """

    shards: int
    copies: int
    domains: int


def estimate_corpus(corpus: CorpusSettings, vocabulary: int | None) -> CorpusDisk | None:
    """Disk of a corpus; None where no domain has `max_bytes`.

    Args:
        corpus: Its domains and tokenizer.
        vocabulary: Token ids at most, which decide the type of a token; None: not known.
    """
    limited = [domain for domain in corpus.domains.values() if domain.max_bytes is not None]
    if not limited:
        return None
    ids = Vocabulary(
        size=2**32 if vocabulary is None else vocabulary, eos_token_id=0, pad_token_id=0
    )
    text = 1 if corpus.tokenizer == BYTES else TEXT_BYTES
    sizes = [domain.max_bytes or 0 for domain in limited]
    # Of a chat, a byte a token says what is learned.
    widths = [ids.dtype.itemsize + (domain.messages is not None) for domain in limited]
    shards = sum(size * width // text for size, width in zip(sizes, widths, strict=True))
    return CorpusDisk(shards, max(sizes), len(limited))
