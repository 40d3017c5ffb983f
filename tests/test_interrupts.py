"""An interrupt that Python raises where nothing hears of it is raised again."""

from __future__ import annotations

import os
import signal

import pytest

from admire_pipeline.interrupts import interruptible, stop_if_asked
from tests.conftest import Project


class Freed:
    """Is freed just as a signal comes."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)


lost = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@lost
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_is_lost_is_raised_again(number: int) -> None:
    came_back = False
    with pytest.raises(KeyboardInterrupt), interruptible():
        Freed(number)
        came_back = True
        stop_if_asked()
    assert came_back, "it was lost"
    stop_if_asked()


@lost
def test_at_the_end_of_the_work_at_the_latest() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        Freed(signal.SIGINT)
    with interruptible():
        pass


def test_an_interrupt_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@lost
@pytest.mark.slow
def test_a_step_ends_all_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost while the training saves a checkpoint, say: it does not go on to its end."""
    from admire_pipeline.training.callback import TrialCallback

    record = TrialCallback._record
    monkeypatch.setattr(TrialCallback, "_record", lambda *a: (Freed(signal.SIGINT), record(*a))[1])
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1, result.output
    (run,) = project.runs()
    assert (run.info.status, run.data.tags["admire.resumable"]) == ("KILLED", "true")
    monkeypatch.setattr(TrialCallback, "_record", record)
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 0
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
