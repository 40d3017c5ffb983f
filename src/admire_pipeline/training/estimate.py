"""What a model needs while it is trained, before it is there: memory and FLOPs, by formula.

Memory is counted as in Korthikanti et al., "Reducing activation recomputation in large transformer
models" (2022), section 4.1: bytes of each tensor that an operation keeps for the backward pass.
Their counts are of GPT in 16 bit; ours are of a Llama-type layer as transformers runs it under
autocast, with weights and residuals in float32 and products in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from admire_pipeline.training.lora import add_adapters
from admire_pipeline.training.models import training_flops
from admire_pipeline.training.settings import FidelitySettings, LoraSettings
from admire_pipeline.training.steps import deal_step

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GIB = 2**30
"""Bytes."""

FLOAT32, BFLOAT16 = 4, 2
"""Bytes of a number."""

ADAMW = 2 * FLOAT32
"""Bytes of both moments of a trained parameter."""

_LOGITS = BFLOAT16 + 2 * FLOAT32  # what the output matrix gives, its float32 copy, log-softmax


@dataclass(frozen=True)
class Shape:
    """What memory and FLOPs depend on.

    Attributes:
        parameters: All of them, adapters included.
        trained: Of these, the trained ones.
        largest: Of the largest part that is gathered at once where weights are sharded: a layer, or
            an embedding.
        layers: Number of layers.
        hidden: Width of the residual stream.
        keys: Width of the keys of all heads, as of the values.
        inner: Width of the feed-forward layer.
        heads: Attention heads.
        vocabulary: Tokens.
        flops: Of training on one token.
    """

    parameters: int
    trained: int
    largest: int
    layers: int
    hidden: int
    keys: int
    inner: int
    heads: int
    vocabulary: int
    flops: float


@dataclass(frozen=True)
class Sharding:
    """Into how many parts, one on each device, the states of a training are split."""

    weights: int = 1
    gradients: int = 1
    optimizer: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a training; buffers and fragmentation are left out.

    Attributes:
        weights: As they are trained.
        gradients: Of the trained ones.
        optimizer: AdamW's moments.
        copies: Weights in bfloat16, as they are computed with.
        activations: Kept for the backward pass.
        logits: With what the loss keeps of them.
    """

    weights: float
    gradients: float
    optimizer: float
    copies: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """Their sum."""
        states = self.weights + self.gradients + self.optimizer + self.copies
        return states + self.activations + self.logits


def measure_shape(
    config: PretrainedConfig, sequence_length: int, lora: LoraSettings | None = None
) -> Shape:
    """Build the model without its weights and measure it.

    Args:
        config: Of the model.
        sequence_length: Tokens; attention's FLOPs depend on it.
        lora: Adapters to train in place of the weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
        if lora is not None:
            model = add_adapters(model, lora)
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    parameters = sum(p.numel() for p in model.parameters())
    embedding = sum(p.numel() for p in model.get_input_embeddings().parameters())
    matrices = embedding if text.tie_word_embeddings else 2 * embedding
    return Shape(
        parameters=parameters,
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        largest=max(embedding, (parameters - matrices) // text.num_hidden_layers),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * width,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=heads,
        vocabulary=text.vocab_size,
        flops=training_flops(model, 1, sequence_length),
    )


def read_sharding(config: Mapping[str, Any], processes: int) -> Sharding:
    """What a config file of accelerate shards over the processes; nothing, unless it says so.

    FSDP shards all states; the stages of DeepSpeed's ZeRO the optimizer's (1), gradients too (2),
    and weights too (3): Rajbhandari et al., ZeRO (2020).
    """
    kind = str(config.get("distributed_type", "")).upper()
    if kind == "FSDP":
        return Sharding(processes, processes, processes)
    if kind != "DEEPSPEED":
        return Sharding()
    stage = int((config.get("deepspeed_config") or {}).get("zero_stage") or 0)
    split = [processes if stage >= least else 1 for least in (3, 2, 1)]
    return Sharding(*split)


def weight_bytes(shape: Shape) -> int:
    """The whole model as it is loaded for a training: frozen weights are in bfloat16."""
    return FLOAT32 * shape.trained + BFLOAT16 * (shape.parameters - shape.trained)


def estimate_memory(
    shape: Shape, fidelity: FidelitySettings, sharding: Sharding | None = None
) -> Memory:
    """Bytes on one device while the fidelity's model is trained on a GPU with bfloat16."""
    sharding = Sharding() if sharding is None else sharding
    training = fidelity.training
    # Where weights are sharded one part is computed with while the next one is gathered.
    gathered = shape.trained if sharding.weights == 1 else 2 * shape.largest
    tokens = deal_step(training, fidelity.launch.processes)[0] * training.sequence_length
    return Memory(
        weights=weight_bytes(shape) / sharding.weights,
        gradients=FLOAT32 * shape.trained / sharding.gradients,
        optimizer=ADAMW * shape.trained / sharding.optimizer,
        copies=BFLOAT16 * gathered,
        activations=tokens * _activations(shape, fidelity),
        # Liger's fused kernel computes the loss piece by piece.
        logits=0.0 if training.liger else tokens * shape.vocabulary * _LOGITS,
    )


def _activations(shape: Shape, fidelity: FidelitySettings) -> float:
    """Bytes a token that the layers keep.

    Of a layer's two halves, each keeps in float32 its residual and its norm before the scale, and
    in bfloat16 every input of a product: the norm's once for each of query, key, value, gate and
    up. Attention keeps query, key, value and output, the feed-forward layer four tensors of its
    inner width. Attention that is not fused keeps its weights too, in both types. With
    checkpointing only the residual of each layer is kept, and one layer at a time is whole. The
    last norm and the output matrix keep what a norm and one product do.
    """
    width = shape.hidden
    head = 2 * FLOAT32 * width + BFLOAT16 * width
    layer = 2 * 2 * FLOAT32 * width + BFLOAT16 * (5 * width + 2 * width + 2 * shape.keys)
    layer += BFLOAT16 * 4 * shape.inner
    if fidelity.model.attention == "eager":
        scores = shape.heads * fidelity.training.sequence_length
        layer += (FLOAT32 + BFLOAT16) * scores
    if fidelity.training.gradient_checkpointing:
        return float(head + shape.layers * FLOAT32 * width + layer)
    return float(head + shape.layers * layer)
