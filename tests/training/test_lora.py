"""LoRA on a checkpoint: what is trained, what is kept, what is merged, what is refused."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from admire_pipeline.errors import UserError
from admire_pipeline.integrity import read_sealed
from admire_pipeline.training.command import check_config_file
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.lora import merge_adapters
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.models import build_model, check_model, training_flops
from admire_pipeline.training.run import load_model, train_trial
from admire_pipeline.training.settings import (
    EvaluationSettings,
    FidelitySettings,
    Ladder,
    LoraSettings,
    ModelSettings,
    TrainingSettings,
)
from admire_pipeline.training.steps import check_launch
from tests.training.test_trainer import Killed, Recorder, train

EVALUATION = EvaluationSettings(batch_size=4, max_bytes=2048, curve_bytes=512)
SEQUENCE = 64


@pytest.fixture
def checkpoint(corpus: Corpus, model_settings: ModelSettings, tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    build_model(model_settings, corpus, SEQUENCE, seed=1).save_pretrained(folder)
    return folder


@pytest.fixture
def settings(checkpoint: Path) -> ModelSettings:
    return ModelSettings(checkpoint=str(checkpoint), lora=LoraSettings(rank=4, alpha=8))


def logits(model: Any) -> torch.Tensor:
    inputs = torch.arange(2 * SEQUENCE).reshape(2, SEQUENCE) % 384
    with torch.inference_mode():
        return torch.as_tensor(model.eval()(input_ids=inputs, use_cache=False).logits)


@pytest.mark.parametrize("page", ["fine_tuning.md", "training.md"])
def test_documented_example_is_valid(page: str) -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs" / page).read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    fidelity = Ladder.model_validate(yaml.safe_load(example)["fidelities"])["7B"]
    check_launch(fidelity, "7B")
    check_config_file(fidelity, root, "7B", elsewhere=True)
    if page == "fine_tuning.md":
        assert fidelity.model.lora == LoraSettings(rank=16, alpha=32)


def test_training_starts_from_the_checkpoint_itself(
    corpus: Corpus, settings: ModelSettings
) -> None:
    base = build_model(settings.model_copy(update={"lora": None}), corpus, SEQUENCE, seed=5)
    assert torch.equal(
        logits(build_model(settings, corpus, SEQUENCE, seed=5)),
        logits(base),
    )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_adapters_are_trained(
    corpus: Corpus,
    settings: ModelSettings,
    recipe: TrainingSettings,
    tmp_path: Path,
    checkpointing: bool,
) -> None:
    recipe = recipe.model_copy(update={"gradient_checkpointing": checkpointing})
    before = dict(build_model(settings, corpus, SEQUENCE, seed=5).named_parameters())
    model, run = train(corpus, settings, recipe, tmp_path, Recorder())
    after = dict(model.named_parameters())
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {name for name in after if "lora_" in name}
    # Every projection of one layer: 4 of 16 x 16, 3 of 16 x 32; rank 4.
    assert run.trained == sum(after[name].numel() for name in changed) == 4 * (4 * 32 + 3 * 48)
    assert run.parameters == sum(before[n].numel() for n in before if "lora_" not in n)
    # A frozen matrix has no gradient of its own: 2 + 2 of 2 + 2 + 2.
    products = 4 * run.parameters + 6 * run.trained
    assert run.flops == 16384 * (products + 12 * 1 * 16 * SEQUENCE)


def test_an_untied_embedding_is_looked_up(corpus: Corpus, tmp_path: Path) -> None:
    shape = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32}
    config = {**shape, "num_hidden_layers": 1, "num_attention_heads": 2}
    build_model(ModelSettings(config=config), corpus, SEQUENCE, seed=1).save_pretrained(tmp_path)
    lora = LoraSettings(rank=1, alpha=1, target_modules=["q_proj"])
    model = build_model(ModelSettings(checkpoint=str(tmp_path), lora=lora), corpus, SEQUENCE, 1)
    frozen = sum(p.numel() for p in model.parameters()) - 32 - 16 * corpus.vocab_size
    assert training_flops(model, 1, SEQUENCE) == 4 * frozen + 6 * 32 + 12 * 16 * SEQUENCE


def test_merged_model_predicts_what_its_adapters_did(
    corpus: Corpus, settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    base = logits(build_model(settings, corpus, SEQUENCE, seed=5))
    model, _ = train(corpus, settings, recipe, tmp_path / "run", Recorder())
    adapted = logits(model)
    merge_adapters(model).save_pretrained(tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(logits(merged), adapted, atol=1e-4, rtol=1e-4)
    assert (adapted - base).abs().max() > 0.1, "training has moved it far more than that"


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_resumed_training_equals_an_uninterrupted_one(
    corpus: Corpus,
    settings: ModelSettings,
    recipe: TrainingSettings,
    tmp_path: Path,
    dropout: float,
) -> None:
    lora = LoraSettings(rank=4, alpha=8, dropout=dropout)
    settings = settings.model_copy(update={"lora": lora})
    whole, _ = train(corpus, settings, recipe, tmp_path / "whole", Recorder())
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9, "keep_checkpoints": 3})
    with pytest.raises(Killed):
        train(corpus, settings, recipe, tmp_path / "cut", Recorder(die_at=20))
    kept = list((tmp_path / "cut").glob("checkpoint-*"))
    assert len(kept) == 3
    for path in kept:  # adapters alone: a checkpoint of the whole model would be gigabytes
        assert not (path / "model.safetensors").exists()
        assert (path / "adapter_model.safetensors").exists()
    resumed, _ = train(corpus, settings, recipe, tmp_path / "cut", second := Recorder())
    assert min(second.losses()) >= 20, "it went on from its checkpoint"
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, dict(resumed.named_parameters())[name]), name


def test_the_hub_is_not_asked_at_every_checkpoint(
    corpus: Corpus,
    settings: ModelSettings,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build_model(settings, corpus, SEQUENCE, seed=5)
    checkpoint.rename(tmp_path / "elsewhere")  # as if its name were one of the hub
    monkeypatch.setattr(
        "peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *_: pytest.fail("asked")
    )
    model.save_pretrained(tmp_path / "adapters")
    assert (tmp_path / "adapters" / "adapter_model.safetensors").exists()


def test_checkpoint_of_other_adapters_is_refused(
    corpus: Corpus, settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(Killed):
        train(corpus, settings, recipe, tmp_path, Recorder(die_at=20))
    other = settings.model_copy(update={"lora": LoraSettings(rank=4, alpha=4)})
    with pytest.raises(UserError, match=r"it is of another recipe, model or mixture"):
        train(corpus, other, recipe, tmp_path, Recorder())


def test_finished_trial_is_an_ordinary_model(
    corpus: Corpus, settings: ModelSettings, recipe: TrainingSettings, tmp_path: Path
) -> None:
    fidelity = FidelitySettings(cost=1.0, model=settings, training=recipe)
    plan = plan_mixture({"letters": 0.5, "numbers": 0.5}, recipe.draws, SEQUENCE, corpus, seed=5)
    log = Recorder().log
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train_trial(fidelity, plan.to_dict(), corpus, tmp_path, 5, EVALUATION, log)
    assert not [str(w.message) for w in caught if w.category is not DeprecationWarning]
    assert 0 < run["trained"] < run["parameters"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "training_run.json",
    ]
    assert load_model(tmp_path / "model").num_parameters() == run["parameters"]
    assert read_sealed(tmp_path / "model" / "training_run.json") == run


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_prj"], "unknown module 'q_prj'; did you mean 'q_proj'? allowed: q_proj, k_proj"),
        (["q_proj", "nope"], "unknown module 'nope'; allowed: q_proj"),
        (".*nope", "'.*nope' cannot be used (Target modules .*nope not found"),
        (
            "q_proj",
            "allowed: all-linear, or a list of some of q_proj, k_proj, v_proj, o_proj, gate",
        ),
        (".*(", "'.*(' cannot be used (missing )"),
        (["input_layernorm"], "cannot be used (Target module LlamaRMSNorm"),
        (["lm_head"], "lm_head shares its weights with the other embedding"),
        (["q_proj", "embed_tokens"], "embed_tokens shares its weights"),
        ([], "[] cannot be used"),
    ],
)
def test_modules_that_can_have_no_adapter(
    settings: ModelSettings, recipe: TrainingSettings, targets: Any, message: str
) -> None:
    lora = LoraSettings(rank=1, alpha=1, target_modules=targets)
    model = settings.model_copy(update={"lora": lora})
    with pytest.raises(UserError, match=r"^fidelities\.x\.model\.lora\.target_modules: ") as caught:
        check_model(FidelitySettings(cost=1.0, model=model, training=recipe), "fidelities.x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "targets", ["all-linear", ["q_proj", "self_attn.v_proj"], r".*\.mlp\..*_proj"]
)
def test_modules_that_can_have_an_adapter(
    settings: ModelSettings, recipe: TrainingSettings, targets: Any
) -> None:
    lora = LoraSettings(rank=1, alpha=1, target_modules=targets)
    model = settings.model_copy(update={"lora": lora})
    check_model(FidelitySettings(cost=1.0, model=model, training=recipe), "fidelities.x")
