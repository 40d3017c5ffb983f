from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from admire_pipeline.training.corpus.tokenise import cut_passages


@given(st.text(max_size=200), st.integers(4, 50))
def test_passages_are_whole_characters_and_make_up_the_text(text, limit):
    passages = cut_passages(text.encode(), limit)
    assert b"".join(passages) == text.encode()
    assert all(0 < len(passage) <= limit for passage in passages)
    assert "".join(passage.decode() for passage in passages) == text
    # No passage could have taken the next character.
    for one, two in zip(passages, passages[1:], strict=False):
        assert len(one) + len(two.decode()[0].encode()) > limit
