"""LoRA: adapters beside a checkpoint's frozen weights, merged into them once they are trained."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.training.corpus.errors import one_line
from admire_pipeline.training.settings import LoraSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"


def add_adapters(model: PreTrainedModel, settings: LoraSettings) -> PeftModel:
    """Freeze a model and put adapters beside its weights, float32 whatever those are in.

    Hu et al., LoRA (ICLR 2022): W x + (alpha / rank) B A x with B zero at first, so that training
    starts from the checkpoint's own predictions.

    Raises:
        ValueError: If no module is meant, or one that can have no adapter.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number does
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
    )
    with warnings.catch_warnings():
        # Of deprecated names between the libraries, and of ties, which `check_adapters` refuses.
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config)
    # By this name peft would ask the hub at every checkpoint whether the vocabulary has grown.
    config.base_model_name_or_path = ""
    return adapted


def check_adapters(model: PreTrainedModel, settings: LoraSettings, key: str) -> None:
    """Check that every module that is to get an adapter is there and can be merged with it.

    Args:
        model: On the meta device; it is wrapped, and of no use afterwards.
        settings: The adapters.
        key: Of `target_modules` in the config, for the message.

    Raises:
        UserError: If a name matches nothing, or means a module without weights to adapt, or an
            output matrix that is the input embedding too: merged, it would change both.
    """
    linear = _linear_modules(model)
    targets = settings.target_modules
    names = [name for name, _ in model.named_modules()]
    # Of a pattern peft tells that nothing matches, of names only that none does.
    for target in [] if isinstance(targets, str) else targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            raise UserError(f"{key}: unknown module {target!r}; {suggest(target, linear)}")
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = model.config.get_text_config().tie_word_embeddings
    shared = {name for name, m in model.named_modules() if tied and m in embeddings}
    try:
        tuner: Any = add_adapters(model, settings).base_model
    except (ValueError, re.error) as error:
        raise UserError(
            f"{key}: {targets!r} cannot be used ({one_line(error)}); "
            f"allowed: {ALL_LINEAR}, or a list of some of {', '.join(linear)}"
        ) from error
    if both := sorted(shared.intersection(tuner.targeted_module_names)):
        raise UserError(
            f"{key}: {both[0]} shares its weights with the other embedding, so that its adapter "
            f"cannot be merged; allowed: {ALL_LINEAR}, or a list of some of {', '.join(linear)}"
        )


def describe_adapters(model: PreTrainedModel | PeftModel) -> str:
    """What a checkpoint's adapters must agree on to be of use to `model`; empty without any."""
    adapters = getattr(model, "peft_config", {})
    described = {name: config.to_dict() for name, config in adapters.items()}
    return json.dumps(described, sort_keys=True, default=sorted) if described else ""


def merge_adapters(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model as one without adapters, W + (alpha / rank) B A, in the dtype of its weights.

    In bfloat16 that rounds once, as the evaluation's autocast does to float32 weights.
    """
    from peft import PeftModel

    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def _linear_modules(model: PreTrainedModel) -> list[str]:
    """Last parts of the names of the modules that `all-linear` means, in the model's order."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    output: Any = model.get_output_embeddings()
    found = (
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, Linear | Conv1D) and module is not output
    )
    return list(dict.fromkeys(found))
