from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, ByT5Tokenizer, LlamaForCausalLM

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.models import build_model, check_model, check_vocabulary
from admire_pipeline.training.pretrained import checkpoint_identity
from admire_pipeline.training.run import load_model
from admire_pipeline.training.settings import FidelitySettings, ModelSettings


def test_weights_follow_from_the_seed(corpus: Corpus, model_settings: ModelSettings) -> None:
    one, same, other = (build_model(model_settings, corpus, 64, seed) for seed in (1, 1, 2))
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.config.vocab_size == corpus.vocab_size


def test_fine_tuning_starts_from_a_checkpoint(
    corpus: Corpus, model_settings: ModelSettings, tmp_path: Path
) -> None:
    trained = build_model(model_settings, corpus, 64, seed=1)
    trained.save_pretrained(tmp_path)
    again = build_model(ModelSettings(checkpoint=str(tmp_path)), corpus, 64, seed=9)
    assert torch.equal(trained.lm_head.weight, again.lm_head.weight)


def test_weights_of_a_checkpoint_are_trained_in_float32(
    corpus: Corpus, model_settings: ModelSettings, tmp_path: Path
) -> None:
    build_model(model_settings, corpus, 64, seed=1).bfloat16().save_pretrained(tmp_path)
    again = build_model(ModelSettings(checkpoint=str(tmp_path)), corpus, 64, seed=9)
    assert again.lm_head.weight.dtype == torch.float32


def fidelity(length: int = 64, **model: Any) -> FidelitySettings:
    return FidelitySettings.model_validate(
        {
            "cost": 1.0,
            "model": model,
            "training": {
                "tokens": 10 * length,
                "sequence_length": length,
                "batch_size": 1,
                "learning_rate": 0.1,
            },
        }
    )


LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        {**LLAMA, "rope_theta": 10000.0},
        {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2},
        {"model_type": "gpt2", "hidden_size": 16, "n_layer": 1, "n_head": 2},
        {**BERT, "is_decoder": True},
    ],
)
def test_good_config_passes(config: dict[str, Any]) -> None:
    check_model(fidelity(config=config), "fidelities.x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_implementation": "eager"}, "'eager' is not taken here; allowed: as `attention`"),
        ({"num_hiden_layers": 1}, "unknown 'num_hiden_layers'; did you mean 'num_hidden_layers'?"),
        ({"hidden_size": "x"}, "not a config of 'llama'|no model can be built"),
        ({"hidden_size": -1}, "not a config of 'llama'|no model can be built"),
        ({"num_attention_heads": 0}, "not a config of 'llama'|no model can be built"),
        ({"hidden_act": "nope"}, "not a config of 'llama'|no model can be built"),
        ({"num_attention_heads": 3}, "not a config of 'llama'|no model can be built"),
        ({"max_position_embeddings": 8}, "max_position_embeddings=8 is less than"),
        (BERT, "'bert' sees the tokens it is to predict; allowed: a causal"),
        ({"model_type": "lama"}, "unknown 'lama'; did you mean 'llama"),
    ],
)
def test_bad_config_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"^fidelities\.x\.model\.config") as caught:
        check_model(fidelity(config={**LLAMA, **change}), "fidelities.x")
    assert "\n" not in str(caught.value)
    assert any(part in str(caught.value) for part in message.split("|")), caught.value


def test_checkpoint_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fidelities\.x\.model\.checkpoint: .* cannot be read"):
        check_model(fidelity(checkpoint=str(tmp_path)), "fidelities.x")


def test_a_checkpoint_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    shape = {**LLAMA, "max_position_embeddings": 64}
    with pytest.raises(UserError, match=r"^fidelities\.x\.model\.checkpoint: 'no/such' cannot be "):
        check_model(fidelity(checkpoint="no/such", shape=shape), "fidelities.x")
    with pytest.raises(
        UserError, match=r"gated one needs a token: set HF_TOKEN, or `huggingface: "
    ):
        check_model(fidelity(checkpoint="no/such"), "fidelities.x")
    # Without the network its shape is what is known of it.
    check_model(fidelity(checkpoint="no/such", shape=shape), "fidelities.x", offline=True)
    check_model(fidelity(checkpoint="no/such"), "fidelities.x", offline=True)
    with pytest.raises(UserError, match=r"^fidelities\.x\.model\.checkpoint: max_position_embedd"):
        check_model(fidelity(65, checkpoint="no/such", shape=shape), "fidelities.x", offline=True)
    wrong = {**LLAMA, "hiden_size": 1}
    with pytest.raises(UserError, match=r"^fidelities\.x\.model\.shape: unknown 'hiden_size'; did"):
        check_model(fidelity(checkpoint="no/such", shape=wrong), "fidelities.x", offline=True)


@pytest.mark.parametrize("offline", [True, False])
def test_a_checkpoint_of_another_shape(corpus: Corpus, tmp_path: Path, offline: bool) -> None:
    saved(corpus, tmp_path)
    folder = str(tmp_path)
    check_model(fidelity(checkpoint=folder, shape=LLAMA), "fidelities.x", offline)
    with pytest.raises(UserError, match=r"\.checkpoint: .* has hidden_size=16, its model\.shape s"):
        other = {**LLAMA, "hidden_size": 32}
        check_model(fidelity(checkpoint=folder, shape=other), "fidelities.x", offline)


def test_checkpoint_with_too_short_positions(
    corpus: Corpus, model_settings: ModelSettings, tmp_path: Path
) -> None:
    build_model(model_settings, corpus, 64, seed=1).save_pretrained(tmp_path)
    check_model(fidelity(checkpoint=str(tmp_path)), "fidelities.x")
    with pytest.raises(UserError, match=r"max_position_embeddings=64 is less than"):
        check_model(fidelity(length=65, checkpoint=str(tmp_path)), "fidelities.x")


def test_too_small_a_vocabulary(corpus: Corpus, tmp_path: Path) -> None:
    small = {**LLAMA, "vocab_size": 100}
    with pytest.raises(UserError, match="has 100 tokens, the corpus' tokenizer 'byt5' 384"):
        check_vocabulary(fidelity(config=small), corpus, "fidelities.x")
    check_vocabulary(fidelity(config={**LLAMA, "vocab_size": 512}), corpus, "fidelities.x")
    build_model(ModelSettings(config=small), corpus, 64, seed=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has 100 tokens"):
        check_vocabulary(fidelity(checkpoint=str(tmp_path)), corpus, "fidelities.x")


def saved(corpus: Corpus, folder: Path, **config: Any) -> ModelSettings:
    settings = ModelSettings(config={**LLAMA, **config})
    build_model(settings, corpus, 64, seed=1).save_pretrained(folder)
    return ModelSettings(checkpoint=str(folder))


def test_pickled_weights_are_refused_before_any_compute(corpus: Corpus, tmp_path: Path) -> None:
    saved(corpus, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"fidelities\.x\.model\.checkpoint: .* has no model\.safe"):
        check_model(fidelity(checkpoint=str(tmp_path)), "fidelities.x")


def test_checkpoint_of_another_tokenizer_is_refused(
    corpus: Corpus, word_tokenizer: Path, tmp_path: Path
) -> None:
    saved(corpus, tmp_path)
    check_vocabulary(fidelity(checkpoint=str(tmp_path)), corpus, "fidelities.x")
    AutoTokenizer.from_pretrained(word_tokenizer).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"other tokens than those of corpus\.tokenizer='byt5'"):
        check_vocabulary(fidelity(checkpoint=str(tmp_path)), corpus, "fidelities.x")
    ByT5Tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink(missing_ok=True)
    check_vocabulary(fidelity(checkpoint=str(tmp_path)), corpus, "fidelities.x")


def test_checkpoint_of_another_end_of_text_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    settings = saved(corpus, tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    config.eos_token_id = 2
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="was trained on other tokens"):
        check_vocabulary(fidelity(**settings.model_dump()), corpus, "fidelities.x")


def test_identity_of_a_checkpoint_follows_its_weights(corpus: Corpus, tmp_path: Path) -> None:
    settings = saved(corpus, tmp_path)
    before = checkpoint_identity(settings)
    assert checkpoint_identity(settings) == before
    build_model(ModelSettings(config=LLAMA), corpus, 64, seed=2).save_pretrained(tmp_path)
    assert checkpoint_identity(settings) != before


@pytest.mark.parametrize("kind", ["config", "checkpoint"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_the_one_asked_for(
    corpus: Corpus, tmp_path: Path, kind: str, attention: str
) -> None:
    origin = {"config": LLAMA} if kind == "config" else saved(corpus, tmp_path).model_dump()
    settings = ModelSettings.model_validate({**origin, "attention": attention})
    check_model(fidelity(**settings.model_dump()), "fidelities.x")
    assert build_model(settings, corpus, 64, seed=1).config._attn_implementation == attention


@pytest.mark.parametrize(("version", "package"), [(2, "flash-attn"), (3, "flash-attn-3")])
def test_attention_whose_package_is_missing(version: int, package: str) -> None:
    name = f"flash_attention_{version}"
    with pytest.raises(UserError, match=rf"^fidelities\.x\.model\.attention: '{name}'") as caught:
        check_model(fidelity(config=LLAMA, attention=name), "fidelities.x")
    assert str(caught.value).endswith(
        f"allowed: sdpa, eager, or with the package {package} on a GPU"
    )


def with_training(**changes: Any) -> FidelitySettings:
    plain = fidelity(config=LLAMA)
    return plain.model_copy(update={"training": plain.training.model_copy(update=changes)})


def test_liger_without_its_package_or_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for there, lacks in ((False, "the package liger-kernel"), (True, "a GPU")):
        monkeypatch.setattr(
            "transformers.utils.is_liger_kernel_available", lambda there=there: there
        )
        with pytest.raises(
            UserError, match=rf"^fidelities\.x\.training\.liger: true needs {lacks}"
        ):
            check_model(with_training(liger=True), "fidelities.x")


def test_model_that_cannot_recompute_its_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    check_model(with_training(gradient_checkpointing=True), "fidelities.x")
    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(UserError, match=r"x\.training\.gradient_checkpointing: 'llama' cannot"):
        check_model(with_training(gradient_checkpointing=True), "fidelities.x")
    check_model(with_training(), "fidelities.x")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_finished_model_is_evaluated_in_the_dtype_it_was_saved_in(
    corpus: Corpus, model_settings: ModelSettings, tmp_path: Path, dtype: torch.dtype
) -> None:
    build_model(model_settings, corpus, 64, seed=1).to(dtype).save_pretrained(tmp_path)
    assert load_model(tmp_path).lm_head.weight.dtype == dtype
