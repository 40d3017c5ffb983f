"""What lm-evaluation-harness has to say, without what is no news to us."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

OURS = ("pretrained", "already-initialized")
"""Of its warnings about models: that it was given one, and not the name of one."""


@contextmanager
def quiet() -> Iterator[None]:
    """Let through errors, and warnings about prompts that are too long: each of these once."""
    logger, models = logging.getLogger("lm_eval"), logging.getLogger("lm_eval.models.huggingface")
    levels = logger.level, models.level
    seen: set[tuple[str, int]] = set()

    def is_news(record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno)
        new = place not in seen and not any(word in record.getMessage() for word in OURS)
        seen.add(place)
        return new

    logger.setLevel(logging.ERROR)
    models.setLevel(logging.WARNING)
    models.addFilter(is_news)
    try:
        yield
    finally:
        models.removeFilter(is_news)
        logger.setLevel(levels[0])
        models.setLevel(levels[1])
