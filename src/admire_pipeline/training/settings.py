"""Settings of a fidelity: a model, its training recipe and its cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from admire_pipeline.errors import UserError

FidelityName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=50)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(_Settings):
    """A model: pre-trained from a config or fine-tuned from a checkpoint, exactly one of both."""

    config: dict[str, Any] | None = None
    """Arguments of the transformers config class (`model_type` picks it, e.g. `llama`); vocabulary
    and special tokens are taken from the corpus' tokenizer."""
    checkpoint: str | None = Field(default=None, min_length=1)
    """Folder or hub name of a checkpoint in safetensors format."""
    revision: str | None = None
    """Commit or tag of a hub checkpoint."""

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSettings:
        if (self.config is None) == (self.checkpoint is None):
            raise ValueError("set exactly one of `config` (pre-training) and `checkpoint`")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("`config` needs a `model_type`, e.g. llama")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if name in (self.config or {}):
                raise ValueError(f"`config` takes no {name}: it follows from the corpus' tokenizer")
        return self


class TrainingSettings(_Settings):
    """The training recipe of one fidelity."""

    tokens: int = Field(gt=0)
    """Training tokens of a trial, rounded down to whole sequences."""
    sequence_length: int = Field(gt=1)
    """Tokens in one training sequence."""
    batch_size: int = Field(gt=0)
    """Sequences in one forward pass on one device."""
    gradient_accumulation: int = Field(default=1, gt=0)
    """Forward passes in one optimizer step."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "linear", "constant_with_warmup", "cosine_with_min_lr"] = "cosine"
    """Learning rate after the warm-up."""
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the optimizer steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW weight decay."""
    adam_beta2: float = Field(default=0.95, gt=0, lt=1)
    """AdamW second-moment decay."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    compile: bool = False
    """Fuse the model's operations (torch.compile; needs a C++ compiler), at the price of some time
    at the start of a trial. `make gpu-check` shows whether it pays."""
    checkpoint_seconds: float = Field(default=30.0, gt=0)
    """A killed training loses at most about this much time."""
    evaluations: int = Field(default=4, ge=0)
    """How often the validation loss is measured during training, for the curves."""

    @model_validator(mode="after")
    def _one_step_at_least(self) -> TrainingSettings:
        step = self.sequence_length * self.batch_size * self.gradient_accumulation
        if self.tokens < step:
            raise ValueError(
                f"tokens={self.tokens} is less than one optimizer step ({step} tokens)"
            )
        return self

    @property
    def sequences(self) -> int:
        """Training sequences of a trial."""
        return self.tokens // self.sequence_length


class FidelitySettings(_Settings):
    """A model size with its recipe; the last one listed is the target."""

    cost: float = Field(gt=0)
    """What one trial costs, in the campaign's unit (default: trainings of the target)."""
    model: ModelSettings
    """What is trained."""
    training: TrainingSettings
    """How it is trained."""


class Ladder(RootModel[dict[str, FidelitySettings]]):
    """The fidelities by name, from small to large; the last one is the target."""

    model_config = ConfigDict(frozen=True)

    root: Annotated[dict[FidelityName, FidelitySettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _target_is_dearest(self) -> Ladder:
        *others, target = self.root
        for name in others:
            if self.root[name].cost > self.root[target].cost:
                raise ValueError(
                    f"cost of {name} is {self.root[name].cost:g}, that of the target {target} "
                    f"{self.root[target].cost:g}; allowed: at most the target's"
                )
        return self

    def __getitem__(self, name: str) -> FidelitySettings:
        """The fidelity of that name.

        Raises:
            UserError: If it is not configured (any more).
        """
        if name not in self.root:
            raise UserError(
                f"fidelities: {name!r}, at which the open trial runs, is not configured; "
                f"allowed: {', '.join(self.root)}"
            )
        return self.root[name]


class EvaluationSettings(_Settings):
    """How a trained model is evaluated."""

    batch_size: int = Field(gt=0)
    """Windows in one forward pass."""
    max_bytes: int = Field(gt=0)
    """Validation text read per domain, in UTF-8 bytes; more gives a smaller standard error."""
    curve_bytes: int = Field(gt=0)
    """Validation text read per domain for the loss curves during training, in UTF-8 bytes."""


class MixingSettings(_Settings):
    """What is kept of a mixture for people to look at."""

    samples: int = Field(ge=0)
    """Training sequences of each domain whose text is saved with the trial."""
    sample_characters: int = Field(gt=0)
    """Length to which each is cut, in characters."""
