from __future__ import annotations

import numpy as np

from admire_pipeline.training.corpus import duplicates

from .texts import WORDS, documents


def _signatures(texts: list[str]) -> np.ndarray:
    return np.array([duplicates.signature(text.encode()) for text in texts])


def _groups(texts: list[str]) -> np.ndarray:
    return duplicates.group(_signatures(texts), np.arange(len(texts)))


def test_signatures_estimate_the_share_of_common_shingles():
    # Document 2 keeps 600 words of 1000: 593 of 1400 - 7 shingles are common, 0.426.
    random = np.random.default_rng(1)
    words = list(random.choice(WORDS, 1400))
    one, two = _signatures([" ".join(words[:1000]), " ".join(words[400:])])
    # Standard error sqrt(.43 * .57 / 64) = 0.062; three of them.
    assert abs((one == two).mean() - 0.426) < 0.19
    assert (one == _signatures([" ".join(words[:1000]).upper()])[0]).all()


def test_white_space_does_not_count():
    text = documents(1)[0]
    spaced = text.replace(" ", " \n\t")
    assert duplicates.digest(text.encode()) == duplicates.digest(f" {spaced} ".encode())
    assert duplicates.digest(text.encode()) != duplicates.digest(text[1:].encode())
    assert (_signatures([text])[0] == _signatures([spaced])[0]).all()


def test_near_duplicates_are_grouped_and_others_are_not():
    texts = documents(40, words=200)
    altered = [f"{text} and one more" for text in texts[:10]]
    groups = _groups(texts + altered)
    assert len(set(groups[:40])) == 40
    assert (groups[40:] == groups[:10]).all()


def test_groups_follow_links_through_others():
    words = documents(1, words=600)[0].split()
    chain = [" ".join(words[i * 20 : i * 20 + 400]) for i in range(8)]
    first, last = _signatures([chain[0], chain[-1]])
    assert (first == last).mean() < duplicates.SIMILAR
    assert len(set(_groups(chain))) == 1


def test_text_without_spaces_has_shingles_too():
    random = np.random.default_rng(0)
    signs = ["".join(chr(0x4E00 + i) for i in random.integers(0, 3000, 300)) for _ in range(2)]
    code = [";".join(random.choice(WORDS, 100)) for _ in range(2)]
    texts = [*signs, *code, signs[0] + signs[1][:10], code[0] + ";x"]
    assert len(set(_groups(texts)[:4])) == 4
    assert _groups(texts)[4:].tolist() == _groups(texts)[[0, 2]].tolist()


def test_odd_texts_have_signatures():
    for text in (b"", b" ", b"a", b"\x80\x80", "é".encode(), b"a" * (duplicates.LONGEST + 5)):
        assert duplicates.signature(text).shape == (duplicates.PERMUTATIONS,)


def test_resembling_documents_are_found_directly_and_through_others():
    texts = documents(30, words=200)
    words = texts[0].split()
    # Each step changes a tenth of the words: the last one is linked to the first by the second.
    near = " ".join(["new"] * 20 + words[20:])
    nearer = " ".join(["new"] * 20 + words[20:180] + ["end"] * 20)
    found = duplicates.resembling(_signatures([*texts[1:], near, nearer]), _signatures(texts[:1]))
    assert found.tolist() == [29, 30]
    empty = np.zeros((0, duplicates.PERMUTATIONS), np.uint32)
    assert duplicates.resembling(empty, _signatures(texts)).tolist() == []
    assert duplicates.resembling(_signatures(texts), empty).tolist() == []
