"""What a corpus must hold for the configured fidelities, checked before any compute."""

from __future__ import annotations

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.harness.check import check_tasks
from admire_pipeline.training.models import check_vocabulary
from admire_pipeline.training.settings import EvaluationSettings, Ladder


def check_requirements(corpus: Corpus, fidelities: Ladder, evaluation: EvaluationSettings) -> None:
    """Check that models and text fit each other.

    Every model takes every token; every domain fills a training sequence and a batch of validation
    windows at each fidelity; every task can be asked, as far as that needs no data.

    Raises:
        UserError: Naming the fidelity or the domain, what it has and what is needed.
    """
    for name, fidelity in fidelities.root.items():
        check_vocabulary(fidelity, corpus, f"fidelities.{name}")
    check_tasks(evaluation, corpus.settings.tokenizer)
    longest = max(f.training.sequence_length for f in fidelities.root.values())
    for domain in corpus.domains:
        if not len(corpus.sequences(domain, longest)):
            found = corpus.manifest["domains"][domain]
            raise UserError(
                f"corpus.domains.{domain}: has {found['tokens']} training tokens, of which "
                f"{found['overlapping']} of {found['documents']} documents resemble validation "
                f"documents of other domains; allowed: at least one sequence of {longest} tokens "
                "besides those"
            )
    batch = evaluation.batch_size * longest
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
