"""What the GP libraries say about inputs and numerics that are handled here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from botorch.exceptions.warnings import InputDataWarning, OptimizationWarning
from linear_operator.utils.warnings import NumericalWarning


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings about inputs and numerics that we handle ourselves."""
    with warnings.catch_warnings():
        for category in (InputDataWarning, NumericalWarning, OptimizationWarning):
            warnings.simplefilter("ignore", category)
        yield
