"""What is done once, or by parts, where several processes work on one trial (accelerate)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")


def spread(work: Callable[[list[T]], list[R]], items: Sequence[T]) -> list[R]:
    """Let each process do its share of the items.

    Args:
        work: Gives one result for each item, in order; called with a share.
        items: The same in every process.

    Returns:
        All results, in the order of the items, in every process.
    """
    from accelerate.utils import gather_object  # type: ignore[import-untyped]

    state = this_process()
    count = state.num_processes
    share = list(items[state.process_index :: count])
    gathered = gather_object(work(share) if share else [])
    order = [i for first in range(count) for i in range(first, len(items), count)]
    return [result for _, result in sorted(zip(order, gathered, strict=True), key=lambda x: x[0])]


def of_first(value: T) -> T:
    """The first process' value, in every process."""
    from accelerate.utils import broadcast_object_list

    this_process()
    shared: T
    (shared,) = broadcast_object_list([value])
    return shared


def is_first() -> bool:
    """Whether this process is the one that writes, and speaks, for all."""
    return bool(this_process().is_main_process)


def this_process() -> PartialState:
    """Which process of how many this is, and its device."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # The first one made is every later one: made without the flag, it takes processes on CPUs for
    # lone ones.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
