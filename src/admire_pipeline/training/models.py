"""Models: built from a config (pre-training) or read from a checkpoint (fine-tuning, LoRA)."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from admire_pipeline.errors import UserError, suggest_nearest
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.device import has_bf16
from admire_pipeline.training.lora import add_adapters, check_adapters
from admire_pipeline.training.pretrained import cached_config, check_tokenizer, checkpoint_config
from admire_pipeline.training.settings import (
    FidelitySettings,
    Ladder,
    ModelSettings,
    TrainingSettings,
)

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel

    from admire_pipeline.training.corpus import Corpus


def check_model(fidelity: FidelitySettings, key: str, offline: bool = False) -> None:
    """Check a fidelity's model before any compute, without its weights, for this machine.

    Args:
        fidelity: The model and its recipe.
        key: Where the fidelity stands in the config, for the message.
        offline: Check a checkpoint that is not on this machine by its `shape`, or not at all.

    Raises:
        UserError: If the model cannot be built, sees the tokens it predicts, or is too short for
            the sequences; if it cannot be trained in the way asked for.
    """
    import torch
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForCausalLM

    place = key
    length = fidelity.training.sequence_length
    if offline or fidelity.model.config is not None:
        config = known_config(fidelity, key)
    else:
        config = checkpoint_config(fidelity.model, f"{key}.model.checkpoint")
    if config is None:
        return
    key = f"{key}.model.{'checkpoint' if fidelity.model.config is None else 'config'}"
    # Models with a masked-LM head look both ways unless they are told to be decoders.
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise UserError(
            f"{key}: {config.model_type!r} sees the tokens it is to predict; allowed: a causal "
            "model, or is_decoder: true"
        )
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and longest < length:
        raise UserError(
            f"{key}: max_position_embeddings={longest} is less than "
            f"training.sequence_length={length}; allowed: at least that"
        )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise UserError(f"{key}: no model can be built from it ({one_line(error)})") from error
    if not offline:  # a plan is often made on another machine
        _check_attention(model, fidelity.model.attention, f"{place}.model.attention")
        _check_savings(model, fidelity.training, f"{place}.training")
    if fidelity.model.lora is not None:
        check_adapters(model, fidelity.model.lora, f"{place}.model.lora.target_modules")


def known_config(fidelity: FidelitySettings, key: str) -> PretrainedConfig | None:
    """The config of a fidelity's model as far as it is known without the network.

    Args:
        fidelity: The model and its recipe.
        key: Where the fidelity stands in the config, for the message.

    Returns:
        None for a checkpoint that is not on this machine and has no `shape`.

    Raises:
        UserError: If it is no config of transformers, or not the checkpoint's.
    """
    model, length = fidelity.model, fidelity.training.sequence_length
    if model.config is not None:
        return _checked_config(model.config, length, f"{key}.model.config")
    config = cached_config(model, f"{key}.model.checkpoint")
    if config is None and model.shape is not None:
        config = _checked_config(model.shape, length, f"{key}.model.shape")
    return config


def shortest_context(fidelities: Ladder) -> int | None:
    """Tokens that all models take; None where none of them tells."""
    configs = [
        known_config(fidelity, f"fidelities.{name}") for name, fidelity in fidelities.root.items()
    ]
    lengths = [
        getattr(config.get_text_config(), "max_position_embeddings", None)
        for config in configs
        if config is not None
    ]
    return min((length for length in lengths if length is not None), default=None)


def check_vocabulary(fidelity: FidelitySettings, corpus: Corpus, key: str) -> None:
    """Check that a model takes every token of the corpus, and means the same by it.

    Raises:
        UserError: If its vocabulary is smaller than the tokenizer's, or another one.
    """
    if fidelity.model.config is not None:
        size = fidelity.model.config.get("vocab_size", corpus.vocab_size)
    else:
        size = checkpoint_config(fidelity.model, key).get_text_config().vocab_size
    if size < corpus.vocab_size:
        raise UserError(
            f"{key}.model: its vocabulary has {size} tokens, the corpus' tokenizer "
            f"{corpus.settings.tokenizer!r} {corpus.vocab_size}; allowed: at least as many"
        )
    if fidelity.model.checkpoint is not None:
        check_tokenizer(fidelity.model, corpus, f"{key}.model.checkpoint")


def build_model(
    settings: ModelSettings, corpus: Corpus, sequence_length: int, seed: int
) -> PreTrainedModel | PeftModel:
    """A causal language model for the corpus' tokens.

    Args:
        settings: Config or checkpoint, attention, adapters.
        corpus: Its tokenizer gives the vocabulary.
        sequence_length: Longest input, in tokens.
        seed: Of the initial weights, where they are random.
    """
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    set_seed(seed)
    if settings.config is not None:
        return AutoModelForCausalLM.from_config(
            _config(settings.config, corpus, sequence_length),
            attn_implementation=settings.attention,
        )
    # Weights that are trained are kept in float32 whatever they were stored in: AdamW's small steps
    # round to nothing in bfloat16. Autocast computes in bfloat16 on a GPU, so that frozen weights
    # may as well stand in it, in half the memory.
    frozen = settings.lora is not None
    model = AutoModelForCausalLM.from_pretrained(
        str(settings.checkpoint),
        revision=settings.revision or "main",
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.bfloat16 if frozen and has_bf16() else torch.float32,
        attn_implementation=settings.attention,
    )
    return model if settings.lora is None else add_adapters(model, settings.lora)


def training_flops(model: PreTrainedModel | PeftModel, tokens: int, sequence_length: int) -> float:
    """FLOPs of training on `tokens`: 6 N + 4 F + 12 L H Q T a token.

    Chowdhery et al., PaLM (2022), appendix B, for N trained parameters. The product with a matrix
    takes 2 FLOPs a parameter forward and 2 for each gradient backward, that of its input and its
    own; F frozen parameters need no gradient of their own. (Below the lowest adapter the input's
    gradient is not needed either: that saving, less than a layer's, is left out.) Attention scores
    have no parameters and cost the same with LoRA. Neither N nor F holds an input embedding that is
    not also the output matrix, which is looked up, not multiplied; attention's part is taken
    without the causal mask's saving, as there. What gradient checkpointing computes twice counts
    once.
    """
    config = model.config.get_text_config()
    looked_up: set[int] = set()
    if not config.tie_word_embeddings:
        looked_up = {id(p) for p in model.get_input_embeddings().parameters()}
    products = sum(
        (6 if p.requires_grad else 4) * p.numel()
        for p in model.parameters()
        if id(p) not in looked_up
    )
    attention = 12 * config.num_hidden_layers * config.hidden_size * sequence_length
    return float(tokens * (products + attention))


def _check_attention(model: PreTrainedModel, attention: str, key: str) -> None:
    try:
        model.get_correct_attn_implementation(attention, is_init_check=True)
    except (ValueError, ImportError) as error:
        version = attention.removeprefix("flash_attention_")
        package = {"2": "flash-attn", "3": "flash-attn-3"}.get(version)
        remedy = f"sdpa, eager, or with the package {package} on a GPU" if package else "eager"
        raise UserError(
            f"{key}: {attention!r} cannot be used ({one_line(error)}); allowed: {remedy}"
        ) from error


def _check_savings(model: PreTrainedModel, training: TrainingSettings, key: str) -> None:
    import torch
    from transformers.utils import is_liger_kernel_available

    if training.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise UserError(
            f"{key}.gradient_checkpointing: {model.config.model_type!r} cannot recompute its "
            "activations; allowed: false"
        )
    if not training.liger:
        return
    if not is_liger_kernel_available():
        lacks = "the package liger-kernel, which is not installed"
    elif not torch.cuda.is_available():
        lacks = "a GPU, and there is none"
    else:
        return
    raise UserError(f"{key}.liger: true needs {lacks}; allowed: false, or with both")


def _config(arguments: dict[str, Any], corpus: Corpus, sequence_length: int) -> PretrainedConfig:
    from transformers import AutoConfig

    defaults = {
        "max_position_embeddings": sequence_length,
        "vocab_size": corpus.vocab_size,
        "bos_token_id": corpus.eos_token_id,
        "eos_token_id": corpus.eos_token_id,
        "pad_token_id": corpus.pad_token_id,
    }
    return AutoConfig.for_model(**(defaults | arguments))


def _checked_config(arguments: dict[str, Any], length: int, key: str) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING, AutoConfig

    model_type = arguments["model_type"]
    if model_type not in CONFIG_MAPPING:
        raise UserError(
            f"{key}.model_type: unknown {model_type!r}; "
            f"{suggest_nearest(model_type, CONFIG_MAPPING)}allowed: a model type of transformers"
        )
    if "attn_implementation" in arguments:
        raise UserError(
            f"{key}.attn_implementation: {arguments['attn_implementation']!r} is not taken here; "
            "allowed: as `attention` of the model, beside `config`"
        )
    # transformers takes misspelt keys in silence.
    kind = CONFIG_MAPPING[model_type]
    known = {*vars(kind()), *kind.attribute_map, *signature(kind.__init__).parameters}
    known -= {"self", "args", "kwargs"}
    known |= {"rope_theta", "rope_scaling"}  # taken, but no fields
    known |= {name for parent in kind.__mro__ for name in getattr(parent, "__annotations__", {})}
    names = sorted(name for name in known if not name.startswith("_"))
    for name in arguments:
        if name not in names:
            raise UserError(
                f"{key}: unknown {name!r}; {suggest_nearest(name, names)}"
                f"allowed: the fields of transformers' {kind.__name__}"
            )
    try:
        defaults = {"max_position_embeddings": length}
        return AutoConfig.for_model(**(defaults | arguments))
    except Exception as error:
        raise UserError(f"{key}: not a config of {model_type!r} ({one_line(error)})") from error
