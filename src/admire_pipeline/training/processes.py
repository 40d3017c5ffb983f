"""One trial on several processes that accelerate launched: who does what, what they agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState

_T = TypeVar("_T")
_R = TypeVar("_R")


def count() -> int:
    """Processes that work on the trial together; 1 where none were launched."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes and logs for all."""
    import torch.distributed as dist

    return count() == 1 or dist.get_rank() == 0


def agree(value: _T) -> _T:
    """The main process' value, on every process; all of them wait for it."""
    import torch.distributed as dist

    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_talk())
    return values[0]


def wait() -> None:
    """Wait until every process is here."""
    import torch.distributed as dist

    if count() > 1:
        dist.barrier(group=_talk())


def leave() -> None:
    """Part from the other processes, once all are done."""
    import torch.distributed as dist

    wait()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@cache
def _talk() -> Any:
    # Between the CPUs: word of a clock or a file must not make the GPUs wait for each other. One
    # may have hours more to evaluate than another; one that died is seen by its launcher.
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=timedelta(days=7))


def layout() -> str:
    """How checkpoints lie on disk; one of another layout cannot be gone on from."""
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            return f"{name} on {count()}"
    return "whole copies"


def spread(work: Callable[[list[_T]], list[_R]], items: Sequence[_T]) -> list[_R]:
    """Let each process do its share of the items.

    Args:
        work: Gives one result for each item, in order; called with a share.
        items: The same in every process.

    Returns:
        All results, in the order of the items, in every process.
    """
    import torch.distributed as dist

    many = count()
    if many == 1:
        return work(list(items)) if items else []
    share = list(items[dist.get_rank() :: many])
    parts: list[list[_R]] = [[] for _ in range(many)]
    dist.all_gather_object(parts, work(share) if share else [], group=_talk())
    return [parts[index % many][index // many] for index in range(len(items))]


def this_process() -> PartialState:
    """Which process of how many this is; it meets the others, and is given its GPU if there is one.

    Over NCCL on GPUs, over gloo without.
    """
    import torch
    from accelerate import PartialState

    # The first one made is every later one: made without the flag, it takes processes on CPUs for
    # lone ones.
    return PartialState(cpu=not torch.cuda.is_available())
