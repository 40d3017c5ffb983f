from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from admire_pipeline.training.corpus import Corpus, CorpusSettings, prepare_corpus
from admire_pipeline.training.dataset import IGNORED, MixtureDataset, sample_texts
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.models import build_model
from admire_pipeline.training.settings import ModelSettings

LENGTH = 96
MIXTURE = {"digits": 0.5, "letters": 0.25, "text": 0.25}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two domains of chats, some longer than a sequence, and one of text."""
    folder = tmp_path_factory.mktemp("chats")
    rng = random.Random(0)

    def words(alphabet: str, most: int) -> str:
        return " ".join("".join(rng.choices(alphabet, k=4)) for _ in range(rng.randint(1, most)))

    for name, alphabet in (("letters", "abcdefgh"), ("digits", "01234567")):
        rows = [
            {
                "messages": [
                    {"role": "user", "content": words(alphabet, 8)},
                    {"role": "assistant", "content": words(alphabet.upper(), 16)},
                ]
            }
            for _ in range(60)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "text.txt").write_text("\n".join(words("uvwxyz", 20) for _ in range(60)))
    domains = {
        name: {"path": str(folder / f"{name}.jsonl"), "messages": "messages"}
        for name in ("digits", "letters")
    }
    domains["text"] = {"path": str(folder / "text.txt"), "document": "line"}
    settings = CorpusSettings.model_validate({"domains": domains, "workers": 1})
    return prepare_corpus(settings, folder / "shards")


@pytest.fixture
def packed(chats: Corpus) -> MixtureDataset:
    plan = plan_mixture(MIXTURE, 80, LENGTH, chats, seed=3, unit="examples")
    return MixtureDataset(plan, chats)


def examples_of(row: dict[str, torch.Tensor]) -> list[slice]:
    """Where each example of a sequence is, the padding at its end included."""
    begins = [*(row["position_ids"] == 0).nonzero()[:, 0].tolist(), len(row["input_ids"])]
    return [slice(b, e) for b, e in zip(begins, begins[1:], strict=False)]


def rows_of(dataset: MixtureDataset) -> list[dict[str, torch.Tensor]]:
    batch = dataset.__getitems__(range(len(dataset)))
    return [{key: values[row] for key, values in batch.items()} for row in range(len(dataset))]


def test_weights_are_shares_of_the_examples(packed: MixtureDataset) -> None:
    plan = packed.plan
    assert {entry.domain: entry.draws for entry in plan.domains} == {
        "digits": 40,
        "letters": 20,
        "text": 20,
    }
    sizes = [len(packed.piece(index)[0]) for index in range(80)]
    assert plan.tokens == sum(sizes) == sum(entry.tokens for entry in plan.domains)
    assert len(packed) < 80
    assert len(packed) >= plan.tokens / LENGTH


def test_every_example_is_in_one_sequence_as_it_was_drawn(packed: MixtureDataset) -> None:
    found = []
    for row in rows_of(packed):
        assert len(row["input_ids"]) == LENGTH
        for place in examples_of(row):
            assert row["position_ids"][place].tolist() == list(range(place.stop - place.start))
            ids, labels = row["input_ids"][place], row["labels"][place]
            if (labels == IGNORED).all():  # padding
                assert set(ids.tolist()) <= {packed._padding}
                continue
            found.append((ids.tolist(), labels.tolist()))
    expected = []
    for index in range(80):
        ids, learned = packed.piece(index)
        labels = np.where(learned, ids, IGNORED)
        labels[0] = IGNORED
        expected.append((ids.tolist(), labels.tolist()))
    assert sorted(found) == sorted(expected)
    assert max(len(ids) for ids, _ in found) == LENGTH  # some were cut


def test_only_answers_are_learned(packed: MixtureDataset, chats: Corpus) -> None:
    for index in range(80):
        ids, learned = packed.piece(index)
        name = packed.plan.domains[packed.draw.domain[index]].domain
        if name == "text":
            assert learned.all()
            continue
        answer = chats.decode(ids[learned]).removesuffix("</s>")
        assert answer == chats.decode(ids).partition("assistant: ")[2].removesuffix("</s>")
        assert answer == answer.upper()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_example_sees_another_nor_depends_on_its_place(
    packed: MixtureDataset, chats: Corpus, attention: str
) -> None:
    model = tiny_model(chats, attention)
    row = next(row for row in rows_of(packed) if len(examples_of(row)) >= 3)
    batch = {key: values[None] for key, values in row.items()}
    with torch.no_grad():
        together = model(**batch, use_cache=False).logits[0]
        for place in examples_of(row):
            alone = model(input_ids=batch["input_ids"][:, place], use_cache=False).logits[0]
            torch.testing.assert_close(together[place], alone, rtol=1e-4, atol=1e-5)
        # Two sequences in a batch are as separate.
        twice = {key: torch.cat([values, values.flip(0)]) for key, values in batch.items()}
        both = model(**twice, use_cache=False).logits
        torch.testing.assert_close(both[1], together, rtol=1e-4, atol=1e-5)
        # Without positions that begin anew, examples do see each other: the test can fail.
        leaking = model(input_ids=batch["input_ids"], use_cache=False).logits[0]
    last = examples_of(row)[1]
    assert not torch.allclose(leaking[last], together[last], rtol=1e-2, atol=1e-3)


def test_loss_is_that_of_the_examples_alone(packed: MixtureDataset, chats: Corpus) -> None:
    model = tiny_model(chats, "sdpa")
    row = next(row for row in rows_of(packed) if len(examples_of(row)) >= 3)
    total, count = 0.0, 0
    with torch.no_grad():
        loss = model(**{key: values[None] for key, values in row.items()}, use_cache=False).loss
        for place in examples_of(row):
            labels = row["labels"][None, place]
            if learned := int((labels[:, 1:] != IGNORED).sum()):
                ids = row["input_ids"][None, place]
                total += learned * float(model(input_ids=ids, labels=labels).loss)
                count += learned
    assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_the_trainer_does_not_let_examples_see_each_other(
    packed: MixtureDataset, chats: Corpus, tmp_path: Path
) -> None:
    """What transformers takes for packed hangs on more than the batch: a cache undoes it."""
    from admire_pipeline.training.settings import TrainingSettings
    from admire_pipeline.training.trainer import train_model

    recipe = TrainingSettings(
        examples=80, sequence_length=LENGTH, batch_size=4, learning_rate=1e-9, evaluations=0
    )
    model = tiny_model(chats, "sdpa")
    logged: list[float] = []
    train_model(
        model,
        packed,
        recipe,
        tmp_path,
        0,
        lambda metrics, _: logged.append(metrics["train.loss"]),
        lambda _: {},
    )
    expected = []
    for begin in range(0, len(packed), 4):
        batch = packed.__getitems__(range(begin, min(begin + 4, len(packed))))
        total = torch.tensor(0.0)
        for row in range(len(batch["labels"])):
            one = {key: values[row] for key, values in batch.items()}
            for place in examples_of(one):
                labels = one["labels"][None, place]
                if learned := int((labels[:, 1:] != IGNORED).sum()):
                    with torch.no_grad():
                        ids = one["input_ids"][None, place]
                        total += learned * model(input_ids=ids, labels=labels).loss
        expected.append(float(total / (batch["labels"] != IGNORED).sum()))
    assert logged == pytest.approx(expected, rel=1e-4)


def test_flat_batches_for_flash_attention(packed: MixtureDataset, chats: Corpus) -> None:
    flat = MixtureDataset(packed.plan, chats, flat=True).__getitems__([0, 1, 2])
    rows = packed.__getitems__([0, 1, 2])
    for key, values in rows.items():
        assert flat[key].shape == (1, 3 * LENGTH)
        assert flat[key].reshape(3, LENGTH).tolist() == values.tolist()


def test_token_shares_of_chats_leave_prompts_out_too(chats: Corpus) -> None:
    plan = plan_mixture(MIXTURE, 40, LENGTH, chats, seed=3)
    batch = MixtureDataset(plan, chats).__getitems__(range(40))
    assert set(batch) == {"input_ids", "labels"}
    learned = batch["labels"] != IGNORED
    assert (batch["labels"][learned] == batch["input_ids"][learned]).all()
    assert learned.any(dim=1).all()
    assert not learned.all()


def test_samples_show_examples(packed: MixtureDataset, chats: Corpus) -> None:
    text = sample_texts(packed.plan, chats, samples=2, characters=40)
    assert text.count("--- example") == 6
    assert "user: " in text


def tiny_model(corpus: Corpus, attention: str) -> torch.nn.Module:
    settings = ModelSettings.model_validate(
        {
            "config": {
                "model_type": "qwen2",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "initializer_range": 0.2,
            },
            "attention": attention,
        }
    )
    return build_model(settings, corpus, LENGTH, seed=0).eval()
