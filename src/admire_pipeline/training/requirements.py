"""What a corpus must hold for the configured fidelities, checked before any compute."""

from __future__ import annotations

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.harness.check import check_questions
from admire_pipeline.training.mixing import find_pieces
from admire_pipeline.training.models import check_vocabulary
from admire_pipeline.training.settings import EvaluationSettings, Ladder, TrainingSettings


def check_requirements(corpus: Corpus, fidelities: Ladder, evaluation: EvaluationSettings) -> None:
    """Check that models and text fit each other.

    Every model takes every token. At each fidelity, every domain fills a training sequence and a
    batch of validation windows; where examples are counted, it has one. Every question of a
    file can be asked.

    Raises:
        UserError: Naming the fidelity or the domain, what it has and what is needed.
    """
    for name, fidelity in fidelities.root.items():
        check_vocabulary(fidelity, corpus, f"fidelities.{name}")
        _check_training_text(name, fidelity.training, corpus)
    check_questions(evaluation, corpus.settings.tokenizer)
    lengths = [
        fidelity.training.sequence_length
        for fidelity in fidelities.root.values()
        if fidelity.training.unit == "tokens"
    ]
    batch = evaluation.batch_size * max(lengths, default=0)
    for domain in corpus.validation_domains:
        shard = corpus.validation(domain)
        if (tokens := len(shard.tokens)) < batch:
            raise UserError(
                f"corpus.domains.{domain}: has {tokens} validation tokens; allowed: at least one "
                f"batch, {batch} tokens (evaluation.batch_size x sequence_length)"
            )
        if (tokens := int(shard.offsets[shard.first(evaluation.max_bytes)])) < batch:
            raise UserError(
                f"evaluation.max_bytes: {evaluation.max_bytes} bytes of corpus.domains.{domain} "
                f"are {tokens} tokens; allowed: at least one batch, {batch} tokens "
                "(evaluation.batch_size x sequence_length)"
            )


def _check_training_text(fidelity: str, training: TrainingSettings, corpus: Corpus) -> None:
    length = training.sequence_length
    for domain in corpus.domains:
        if len(find_pieces(corpus, domain, training.unit, length)):
            continue
        found = corpus.manifest["domains"][domain]
        what = "at least one sequence of"
        if training.unit == "examples":
            what = "at least one example of which something is learned within"
        raise UserError(
            f"corpus.domains.{domain}: has {found['tokens']} training tokens, of which "
            f"{found['overlapping']} of {found['documents']} documents resemble validation "
            f"documents of other domains; allowed: {what} {length} tokens "
            f"(fidelities.{fidelity}.training.sequence_length) besides those"
        )
