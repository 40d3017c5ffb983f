from __future__ import annotations

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, SequentialSampler

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.dataset import MixtureDataset
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.settings import FidelitySettings, TrainingSettings
from admire_pipeline.training.steps import WholeSteps, check_launch, deal_step


def recipe(batch_size: int, accumulation: int) -> TrainingSettings:
    return TrainingSettings(
        examples=100,
        sequence_length=64,
        batch_size=batch_size,
        gradient_accumulation=accumulation,
        learning_rate=0.1,
    )


@pytest.fixture
def dataset(corpus: Corpus) -> MixtureDataset:
    return MixtureDataset(plan_mixture({"letters": 0.5, "numbers": 0.5}, 21, 64, corpus, 5), corpus)


DEALS = {
    (8, 1, 1): (8, 1),
    (8, 4, 2): (8, 2),  # half of the passes each
    (8, 1, 2): (4, 1),  # half of a pass each
    (8, 2, 4): (4, 1),
    (6, 4, 8): (3, 1),
    (4, 6, 4): (2, 3),
}


@pytest.mark.parametrize(("step", "dealt"), DEALS.items())
def test_a_step_holds_the_same_sequences_on_any_number_of_processes(
    step: tuple[int, int, int], dealt: tuple[int, int], dataset: MixtureDataset
) -> None:
    batch_size, accumulation, processes = step
    training = recipe(batch_size, accumulation)
    each, passes = deal_step(training, processes)
    assert (each, passes) == dealt
    whole = WholeSteps(dataset, training.step_sequences)
    ranks = [
        list(BatchSamplerShard(BatchSampler(SequentialSampler(whole), each, False), processes, n))
        for n in range(processes)
    ]
    for number in range(len(whole) // training.step_sequences):
        dealt_out = [
            index
            for batches in ranks
            for batch in batches[number * passes : (number + 1) * passes]
            for index in batch
        ]
        first = number * training.step_sequences
        assert sorted(dealt_out) == list(range(first, first + training.step_sequences))


def test_filled_up_sequences_are_not_learned_from(dataset: MixtureDataset) -> None:
    whole = WholeSteps(dataset, 8)
    assert (len(dataset), len(whole)) == (21, 24)
    batch = whole.__getitems__(range(16, 24))
    plain = dataset.__getitems__(range(16, 21))
    assert torch.equal(batch["labels"][:5], plain["labels"])
    assert torch.equal(batch["input_ids"][:5], plain["input_ids"])
    assert (batch["labels"][5:] == -100).all() and (batch["input_ids"] >= 0).all()


def test_processes_that_cannot_share_a_step_are_refused() -> None:
    fidelity = FidelitySettings.model_validate(
        {
            "cost": 1,
            "model": {"config": {"model_type": "llama"}},
            "training": recipe(6, 2).model_dump(),
            "launch": {"processes": 8},
        }
    )
    with pytest.raises(UserError) as refused:
        check_launch(fidelity, "fidelities.large")
    assert str(refused.value) == (
        "fidelities.large.launch.processes: 8 cannot share a step of 6 x 2 sequences "
        "(training.batch_size x gradient_accumulation) evenly; allowed: 1, 2, 3, 4, 6, 12"
    )
