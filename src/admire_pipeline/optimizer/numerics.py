"""How the GP libraries are run: what they say that is handled here, threads and random state."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gpytorch
import linear_operator
import numpy as np
import torch
from botorch.exceptions.warnings import InputDataWarning, OptimizationWarning
from linear_operator.utils.warnings import NumericalWarning


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings about inputs and numerics that we handle ourselves."""
    with warnings.catch_warnings():
        for category in (InputDataWarning, NumericalWarning, OptimizationWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use a single thread for a while.

    A climb is thousands of operations on a few numbers each. Threads that wait for one another
    after each gain nothing, and where another load has the cores they cost fifty times as much.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def eager() -> Iterator[None]:
    """Have GPyTorch evaluate kernels at once and leave out its checks.

    What it puts off, to never form a large matrix, costs more than it saves for a few hundred
    trials: a fit takes a fifth less, and what comes of it is the same up to rounding.
    """
    with (
        gpytorch.settings.lazily_evaluate_kernels(False),
        gpytorch.settings.debug(False),
        linear_operator.settings.debug(False),
    ):
        yield


def root(variance: torch.Tensor) -> torch.Tensor:
    """Return standard deviations (any shape) that can be divided by and have a slope.

    Where a variance is 0 too: it counts as 1e-150, whose power of -3/2, in the slope of a quotient,
    is still finite.
    """
    return variance.clamp_min(1e-150).sqrt()


@contextmanager
def torch_seed(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global random state for a while, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        yield
