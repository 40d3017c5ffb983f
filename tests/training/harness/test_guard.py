from __future__ import annotations

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.harness.guard import no_hub_code
from admire_pipeline.training.harness.tasks import build_task
from admire_pipeline.training.settings import TaskSettings


@pytest.mark.slow
def test_a_task_that_fetches_its_metrics_code() -> None:
    task = TaskSettings(task="polemo2_in", metric="f1")
    with pytest.raises(UserError, match=r"^t\.task: it measures 'f1' by code that is fetched"):
        build_task("t", task, "t", len)


def test_a_refusal_that_is_swallowed() -> None:
    import evaluate

    load = evaluate.load
    with pytest.raises(UserError, match=r"^t\.task: it measures 'rouge' by code"), no_hub_code("t"):
        try:
            evaluate.load("rouge")
        except Exception:  # as lm_eval's `get_metric` does
            pass
    assert evaluate.load is load
    with pytest.raises(KeyError), no_hub_code("t"):
        raise KeyError("a fault of its own")
