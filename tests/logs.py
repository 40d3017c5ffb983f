"""What was logged, without what others say."""

from __future__ import annotations

import pytest


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Messages of our own.

    The sign of life of a worker that an earlier test has cut off from its server may still be on
    its way, in a thread, and urllib3 says so.
    """
    return [r.getMessage() for r in caplog.records if r.name.startswith("admire_pipeline")]
