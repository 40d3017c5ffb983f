"""Who works on a run: a lease that passes on once its holder has given it back, or is silent.

Each time a run is taken over, its epoch grows by one. Who made the run holds epoch 0; epoch `k`
belongs to whoever was first to write the parameter `lease.k`, which nobody can change. So of many
workers one gets it, and who held an earlier one can see that it has lost it (docs/campaigns.md).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from admire_pipeline.errors import UserError
from admire_pipeline.process import is_gone, name_process
from admire_pipeline.tracking.heartbeat import Heartbeat
from admire_pipeline.tracking.write_once import write_once

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OWNER = "admire.owner"
"""Tag: the process that made the run, which holds epoch 0."""

_NUMBER = re.compile("[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
"""As workers write them; anything else was written by hand, and says nothing of a lease."""

_LEASE = "lease."
_HEARTBEAT = "admire.heartbeat."
_GIVEN_BACK = "admire.given_back."
"""Of an epoch: what an earlier holder writes late must not be taken for a later one's."""

_BEATS = 10
"""Signs of life within the time after which a holder counts as silent."""

_WATCHED = 0.4
"""Of that time a silent holder is watched: four of its beats, and longer than MLflow waits between
two tries of a server that was away (128 s)."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps."""

AT_WORK: set[tuple[str, int]] = set()
"""Leases that this process holds: run and epoch."""


class LostLease(UserError):
    """Another worker has taken the run over; what this one still finds is not written."""


class Lease:
    """The right to work on a run, kept alive from a thread of its own.

    Args:
        client: Of the tracking server.
        run_id: The run.
        epoch: Of this lease.
        timeout: Seconds of silence after which others may take the run over.
    """

    def __init__(self, client: MlflowClient, run_id: str, epoch: int, timeout: float) -> None:
        self._client = client
        self.run_id = run_id
        self.epoch = epoch
        self._lost = False
        self._timeout = timeout
        self._beaten = -math.inf
        AT_WORK.add((run_id, epoch))
        self._heartbeat = Heartbeat(self._beat, timeout / _BEATS)

    def check(self) -> Run:
        """Ask the server whether this lease still holds; the run, if it does.

        Raises:
            LostLease: If it does not.
        """
        run = self._client.get_run(self.run_id)
        if epoch_of(run) != self.epoch or run.info.lifecycle_stage != "active":
            self._lost = True
        self._refuse_if_lost()
        return run

    def check_here(self) -> None:
        """The same by what the last sign of life told; it is given anew where it is old.

        Raises:
            LostLease: If it does not hold.
        """
        # Longer ago than a holder is watched: this process was suspended, and may have lost it.
        if time.clock_gettime(_CLOCK) - self._beaten > self._timeout * _WATCHED:
            self._beat()
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self._lost:
            raise LostLease(
                f"run {self.run_id}: this worker was silent for longer than "
                "campaign.heartbeat_timeout, and another one has taken the trial over (or it was "
                "deleted); nothing is written over, the same command goes on with the campaign"
            )

    def give_back(self, status: str, tags: Mapping[str, str] | None = None) -> None:
        """Say that this worker is through with the run.

        Args:
            status: Of MLflow, that the run is to have. This word of the latest epoch counts, not
                the status itself, which an earlier holder may write late.
            tags: Written with it.
        """
        from mlflow.entities import RunTag

        given = {**(tags or {}), f"{_GIVEN_BACK}{self.epoch}": status}
        entities = [RunTag(name, text) for name, text in given.items()]
        self._client.log_batch(self.run_id, tags=entities, synchronous=True)

    def end(self) -> None:
        """Whether or not the server hears of it, this process is through with the run."""
        self._heartbeat.stop()
        AT_WORK.discard((self.run_id, self.epoch))

    def _beat(self) -> None:
        began = time.clock_gettime(_CLOCK)
        self.check()
        self._client.set_tag(self.run_id, *_sign_of_life(self.epoch))
        self._beaten = began


def first_tags() -> dict[str, str]:
    """Tags of a run that this process makes, and so holds."""
    return {OWNER: name_process(), **dict([_sign_of_life(0)])}


def take_over(client: MlflowClient, run: Run) -> int | None:
    """Take a run over that is free; the epoch that is ours now, None if another was faster."""
    epoch = epoch_of(run) + 1
    tags = dict([_sign_of_life(epoch)])
    ours = write_once(client, run.info.run_id, f"{_LEASE}{epoch}", name_process(), tags)
    return epoch if ours else None


def epoch_of(run: Run) -> int:
    """How often the run was taken over."""
    keys = (key.removeprefix(_LEASE) for key in run.data.params if key.startswith(_LEASE))
    return max((int(key) for key in keys if _NUMBER.fullmatch(key)), default=0)


def find_free(client: MlflowClient, runs: Iterable[Run], timeout: float) -> Iterator[Run]:
    """Those of the runs that nobody works on.

    The clocks of two machines may differ by any amount, or jump: a holder that seems silent is
    watched for a while before its run counts as free. Those come last.

    Args:
        client: Of the tracking server.
        runs: Not ended.
        timeout: Seconds of silence.
    """
    silent = []
    for run in runs:
        free = _is_free(run)
        if free:
            yield run
        elif free is None and abs(time.time() - _last_beat(run)) > timeout:
            silent.append(run)
    deadline = time.monotonic() + timeout * _WATCHED
    while silent and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, timeout * _WATCHED / _BEATS))
        # One that has beaten, or was taken over, is alive.
        silent = [r for r in silent if _same_life(r, client.get_run(r.info.run_id))]
    yield from silent


def outcome(run: Run, epoch: int | None = None) -> str | None:
    """As what a holder has given the run back, by default the last one; None if he has not."""
    status = run.data.tags.get(f"{_GIVEN_BACK}{epoch_of(run) if epoch is None else epoch}")
    return None if status is None else str(status)


def _is_free(run: Run) -> bool | None:
    """None where the holder may be alive, False where it is this process."""
    if outcome(run) is not None:
        return True
    holder = run.data.params.get(f"{_LEASE}{epoch_of(run)}", run.data.tags.get(OWNER, ""))
    if holder == name_process():
        # Ended here while the server was away, so that it did not hear of it.
        return (run.info.run_id, epoch_of(run)) not in AT_WORK
    # One that can be seen to live may be suspended, or through with the run without the server's
    # knowing: it is as good as its signs of life.
    return is_gone(holder) or None


def _sign_of_life(epoch: int) -> tuple[str, str]:
    return f"{_HEARTBEAT}{epoch}", f"{time.time():.3f}"


def _last_beat(run: Run) -> float:
    beat = run.data.tags.get(f"{_HEARTBEAT}{epoch_of(run)}", "")
    return float(beat) if _SECONDS.fullmatch(beat) else 0.0


def _same_life(before: Run, now: Run) -> bool:
    return (epoch_of(before), _last_beat(before)) == (epoch_of(now), _last_beat(now))
