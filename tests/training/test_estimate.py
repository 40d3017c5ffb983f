"""Estimates against what PyTorch and transformers do, on models of a second."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from admire_pipeline.training.estimate import (
    Sharding,
    estimate_memory,
    measure_shape,
    read_sharding,
)
from admire_pipeline.training.settings import FidelitySettings, LoraSettings
from admire_pipeline.training.work import checkpoint_bytes, model_bytes

LENGTH, BATCH = 128, 4


def config(**change: Any) -> Any:
    fields = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": LENGTH,
        "tie_word_embeddings": True,
    }
    return AutoConfig.for_model(**{**fields, **change})


def fidelity(model: dict[str, Any] | None = None, **training: Any) -> FidelitySettings:
    recipe = {
        "tokens": 64 * LENGTH,
        "sequence_length": LENGTH,
        "batch_size": BATCH,
        "gradient_accumulation": 2,
        "learning_rate": 0.01,
    }
    launch = training.pop("launch", {})
    return FidelitySettings.model_validate(
        {
            "cost": 1,
            "model": {"checkpoint": "x", **(model or {})},
            "training": {**recipe, **training},
            "launch": launch,
        }
    )


def test_states_of_a_training_to_the_byte() -> None:
    model = AutoModelForCausalLM.from_config(config())
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(0, 300, (BATCH, LENGTH))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    memory = estimate_memory(measure_shape(config(), LENGTH), fidelity())

    def size(tensors: Any) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    assert memory.weights == size(model.parameters())
    assert memory.gradients == size(p.grad for p in model.parameters())
    moments = [state[key] for state in optimizer.state.values() for key in state if key != "step"]
    assert memory.optimizer == size(moments)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_against_what_autograd_keeps(
    attention: str, heads: int, checkpointing: bool
) -> None:
    shaped = config(num_key_value_heads=heads)
    model = AutoModelForCausalLM.from_config(shaped, attn_implementation=attention)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, 300, (BATCH, LENGTH))
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
        model(input_ids=ids, labels=ids, use_cache=False)
    measured = sum(storage.nbytes() for storage in kept.values())
    memory = estimate_memory(
        measure_shape(shaped, LENGTH),
        fidelity({"attention": attention}, gradient_checkpointing=checkpointing),
    )
    # Autograd keeps log-softmax of the logits. Under checkpointing it keeps one layer's activations
    # only later, in the backward pass, and no copies of the layers' weights.
    estimated = memory.activations + memory.logits * 0.4 + memory.copies
    if checkpointing:
        one, two = (
            estimate_memory(
                measure_shape(config(num_key_value_heads=heads, num_hidden_layers=count), LENGTH),
                fidelity({"attention": attention}),
            )
            for count in (1, 2)
        )
        layers = memory.copies - 2 * 300 * 64  # the output matrix' copy is kept
        estimated -= two.activations - one.activations + layers
    assert estimated == pytest.approx(measured, rel=0.03)


QWEN = {
    "0.5B": (494_032_768, (896, 4864, 24, 14, 2, 151_936, True)),
    "3B": (3_085_938_688, (2048, 11008, 36, 16, 2, 151_936, True)),
    "7B": (7_615_616_512, (3584, 18944, 28, 28, 4, 152_064, False)),
}
FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
)


@pytest.mark.parametrize("size", QWEN)
def test_published_parameter_counts(size: str) -> None:
    parameters, values = QWEN[size]
    qwen = AutoConfig.for_model("qwen2", **dict(zip(FIELDS, values, strict=True)))
    shape = measure_shape(qwen, 4096)
    assert shape.parameters == shape.trained == parameters
    # 6 N a token, and attention (PaLM, appendix B); an input embedding alone is not multiplied.
    multiplied = parameters - (0 if values[-1] else values[0] * values[5])
    assert shape.flops == 6 * multiplied + 12 * values[2] * values[0] * 4096
    assert model_bytes(shape) == 4 * parameters


def test_adapters_are_what_is_trained() -> None:
    shape = measure_shape(config(), LENGTH, LoraSettings(rank=2, alpha=4))
    full = measure_shape(config(), LENGTH)
    # Two matrices for each linear one: rank x input and output x rank.
    layer = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 172), (64, 172), (172, 64)]
    assert shape.trained == 3 * sum(2 * (a + b) for a, b in layer)
    assert shape.parameters == full.parameters + shape.trained
    memory = estimate_memory(shape, fidelity({"lora": {"rank": 2, "alpha": 4}}))
    assert memory.optimizer == 8 * shape.trained
    assert memory.weights == 2 * full.parameters + 4 * shape.trained
    assert checkpoint_bytes(shape, fidelity().training) == 3 * 12 * shape.trained


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"distributed_type": "MULTI_GPU"}, Sharding(1, 1, 1)),
        ({"distributed_type": "FSDP"}, Sharding(8, 8, 8)),
        (
            {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}},
            Sharding(8, 8, 8),
        ),
        (
            {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 1}},
            Sharding(1, 1, 8),
        ),
        ({}, Sharding(1, 1, 1)),
    ],
)
def test_sharding_by_accelerates_config(config: dict[str, Any], expected: Sharding) -> None:
    assert read_sharding(config, 8) == expected


def test_sharded_states() -> None:
    shape = measure_shape(config(), LENGTH)
    one = estimate_memory(shape, fidelity())
    four = estimate_memory(shape, fidelity(), Sharding(4, 4, 4))
    assert (
        four.weights + four.gradients + four.optimizer
        == (one.weights + one.gradients + one.optimizer) / 4
    )
    assert four.activations == one.activations
