"""Settings of a fidelity: a model, its training recipe and its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from admire_pipeline.errors import UserError
from admire_pipeline.names import FidelityName, TaskName

Unit = Literal["tokens", "examples"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraSettings(_Settings):
    """Low-rank adapters in place of full fine-tuning (Hu et al., LoRA, ICLR 2022)."""

    rank: int = Field(gt=0)
    """Rank of each adapter."""
    alpha: float = Field(gt=0)
    """Adapters are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before an adapter."""
    target_modules: str | list[str] = "all-linear"
    """Modules that get an adapter, by name; `all-linear`: every linear one but the output's."""


class ModelSettings(_Settings):
    """A model: pre-trained from a config or fine-tuned from a checkpoint, exactly one of both."""

    config: dict[str, Any] | None = None
    """Arguments of the transformers config class (`model_type` picks it, e.g. `llama`); vocabulary
    and special tokens are taken from the corpus' tokenizer."""
    checkpoint: str | None = Field(default=None, min_length=1)
    """Folder or hub name of a checkpoint in safetensors format."""
    revision: str | None = None
    """Commit or tag of a hub checkpoint."""
    shape: dict[str, Any] | None = None
    """Of a checkpoint: fields of its config, for estimates before it is there (`kedro admire
    plan`); checked against it once it is."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "sdpa"
    """Attention's implementation; `flash_attention_*` need the package of that name."""
    lora: LoraSettings | None = None
    """Train adapters and leave the checkpoint's weights alone; null: train all of them."""

    @property
    def on_hub(self) -> bool:
        """Whether it is a checkpoint of the Hub, and no folder."""
        return self.checkpoint is not None and not Path(self.checkpoint).is_dir()

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSettings:
        if (self.config is None) == (self.checkpoint is None):
            raise ValueError("set exactly one of `config` (pre-training) and `checkpoint`")
        for name in ("revision", "shape", "lora"):
            if self.config is not None and getattr(self, name) is not None:
                raise ValueError(f"{name} is allowed only together with `checkpoint`")
        for name in ("config", "shape"):
            given = getattr(self, name)
            if given is not None and not isinstance(given.get("model_type"), str):
                raise ValueError(f"`{name}` needs a `model_type`, e.g. llama")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if name in (self.config or {}):
                raise ValueError(f"`config` takes no {name}: it follows from the corpus' tokenizer")
        return self


class TrainingSettings(_Settings):
    """The training recipe of one fidelity."""

    tokens: int | None = Field(default=None, gt=0)
    """Training tokens of a trial, rounded down to whole sequences (`mixing.unit: tokens`)."""
    examples: int | None = Field(default=None, gt=0)
    """Training examples of a trial: documents, chats (`mixing.unit: examples`)."""
    sequence_length: int = Field(gt=1)
    """Tokens in one training sequence. Longer examples are cut, shorter ones share a sequence
    without seeing each other."""
    batch_size: int = Field(gt=0)
    """Sequences in one forward pass, of all devices of the trial together."""
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
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: far less memory for about a third more time."""
    liger: bool = False
    """Fused Triton kernels, cross-entropy among them (package liger-kernel; GPU only)."""
    checkpoint_seconds: float = Field(default=30.0, gt=0)
    """A killed training loses at most about this much time."""
    keep_checkpoints: int = Field(default=2, gt=1)
    """Checkpoints of a running training that are kept; two, as a kill may spoil the last."""
    evaluations: int = Field(default=4, ge=0)
    """How often the validation loss is measured during training, for the curves."""

    @model_validator(mode="after")
    def _one_budget(self) -> TrainingSettings:
        if (self.tokens is None) == (self.examples is None):
            raise ValueError("set exactly one of `tokens` and `examples`")
        step = self.sequence_length * self.step_sequences
        if self.tokens is not None and self.tokens < step:
            raise ValueError(
                f"tokens={self.tokens} is less than one optimizer step ({step} tokens)"
            )
        return self

    @property
    def unit(self) -> Unit:
        """What the budget counts, and a mixture's weights are shares of."""
        return "tokens" if self.examples is None else "examples"

    @property
    def draws(self) -> int:
        """What is drawn from the domains for a trial: sequences, or examples."""
        return self.examples or (self.tokens or 0) // self.sequence_length

    @property
    def step_sequences(self) -> int:
        """Sequences in one optimizer step, on however many devices."""
        return self.batch_size * self.gradient_accumulation


class LaunchSettings(_Settings):
    """On how many devices a trial is trained and evaluated; it changes no result, only the time."""

    processes: int = Field(default=1, gt=0)
    """Processes, one for each device; more than one, or a config, starts `accelerate launch`."""
    config: str | None = Field(default=None, min_length=1)
    """Config file of accelerate, e.g. conf/accelerate/fsdp.yaml; null: data parallel."""

    @property
    def in_process(self) -> bool:
        """Whether this process does it itself."""
        return self.processes == 1 and self.config is None


class FidelitySettings(_Settings):
    """A model size with its recipe; the last one listed is the target."""

    cost: float = Field(gt=0)
    """What one trial costs, in the campaign's unit (default: trainings of the target)."""
    model: ModelSettings
    """What is trained."""
    training: TrainingSettings
    """How it is trained."""
    launch: LaunchSettings = LaunchSettings()
    """On what."""


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


class TaskSettings(_Settings):
    """A task of lm-evaluation-harness: one of its own, or one of the user's in a JSONL file."""

    task: str | None = Field(default=None, min_length=1)
    """Name in lm-evaluation-harness."""
    revision: str | None = Field(default=None, min_length=1)
    """Commit of its dataset on the Hub; null: what is in the cache, else the newest."""
    path: str | None = Field(default=None, min_length=1)
    """JSONL file of a task of your own."""
    kind: Literal["multiple_choice", "generation"] | None = None
    """Of a file: rows of {question, choices, answer} (the right choice's number from 0), or of
    {question, answer}."""
    metric: str = Field(pattern=r"^[A-Za-z0-9_\-]+$")
    """Which of the task's metrics counts, e.g. acc, acc_norm, exact_match."""
    filter: str = Field(default="none", min_length=1)
    """Which of the task's filters of the answers counts."""
    few_shot: int = Field(default=0, ge=0)
    """Solved examples before each question."""
    limit: int | None = Field(default=None, gt=0)
    """Only so many questions; null: all."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Longest answer that the model writes, in tokens; null: the task's own, else the harness' 256
    (of a file: the longest right answer and a little)."""

    @model_validator(mode="after")
    def _one_source(self) -> TaskSettings:
        if (self.task is None) == (self.path is None):
            raise ValueError("set exactly one of `task` (of lm-evaluation-harness) and `path`")
        if (self.path is None) != (self.kind is None):
            raise ValueError("`path` needs a `kind`, and only a path")
        if self.path is not None and self.revision is not None:
            raise ValueError("`revision` is of a `task`'s dataset on the Hub; a `path` has none")
        return self


class EvaluationSettings(_Settings):
    """How a trained model is evaluated."""

    batch_size: int = Field(gt=0)
    """Windows in one forward pass."""
    max_bytes: int = Field(gt=0)
    """Validation text read per domain, in UTF-8 bytes; more gives a smaller standard error."""
    curve_bytes: int = Field(gt=0)
    """Validation text read per domain for the loss curves during training, in UTF-8 bytes."""
    tasks: dict[TaskName, TaskSettings] = Field(default_factory=dict)
    """Benchmark tasks; each measures `<metric>.<name>`, which `objective.weights` may weigh."""
    chat: bool = False
    """Ask the tasks' questions through the tokenizer's chat template; an answer ends with the
    assistant's turn."""
    task_batch_size: int | None = Field(default=None, gt=0)
    """Prompts of a task in one forward pass, on one device; null: `batch_size`."""

    @property
    def task_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the tasks measure."""
        return tuple(f"{task.metric}.{name}" for name, task in self.tasks.items())

    def located(self, root: Path) -> EvaluationSettings:
        """The same, with the tasks' relative paths taken from `root`."""
        tasks = {
            name: task
            if task.path is None
            else task.model_copy(update={"path": str(root / Path(task.path).expanduser())})
            for name, task in self.tasks.items()
        }
        return self.model_copy(update={"tasks": tasks})


class MixingSettings(_Settings):
    """What a mixture's weights are shares of, and what is kept of it for people to look at."""

    unit: Unit = "tokens"
    """Weights are shares of the training tokens, or of the training examples (fine-tuning)."""

    samples: int = Field(ge=0)
    """Training sequences of each domain whose text is saved with the trial."""
    sample_characters: int = Field(gt=0)
    """Length to which each is cut, in characters."""
