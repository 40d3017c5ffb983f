"""What goes wrong, in one line."""

from __future__ import annotations

import pytest

from admire_pipeline.training.corpus.errors import one_line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("it is gone\nand more", "it is gone"),
        ("\n  it is gone  \n", "it is gone"),
        # As huggingface_hub and transformers write it.
        (
            "There was an error when loading:\n\n401 Client Error.\nSee",
            "There was an error when loading: 401 Client Error.",
        ),
        ("nothing follows:", "nothing follows:"),
        ("", "ValueError"),
    ],
)
def test_the_reason_is_in_the_line(message: str, line: str) -> None:
    assert one_line(ValueError(message)) == line
    assert one_line(ValueError(message), limit=5) == line[:5] or not message
