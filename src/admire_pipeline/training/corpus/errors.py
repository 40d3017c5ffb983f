"""What goes wrong with a corpus, in one line that a user can act on."""

from __future__ import annotations

from admire_pipeline.credentials import masked
from admire_pipeline.errors import UserError

WHO_ASKS = "set HF_TOKEN, or `huggingface: {token: ...}` in conf/local/credentials.yml"
"""How to show the Hugging Face Hub who is asking."""

REACHABLE = (
    "allowed: a dataset that can be reached (a private or gated one needs a token: "
    f"{WHO_ASKS}), or a local folder"
)
"""The end of a message about a dataset that cannot be had."""


class CorpusError(UserError):
    """A source or setting of the corpus is wrong; the message names key, value and what is allowed.

    One string is its only argument, so that it passes between processes.
    """


def one_line(error: BaseException, limit: int = 200) -> str:
    """First line of an exception's message, cut to `limit` characters; its type if it has none.

    One that ends with a colon is followed by the next: there the reason stands.
    The Hub's token is masked: a server may quote the headers that it refuses.
    """
    lines = [line.strip() for line in masked(str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:limit]
