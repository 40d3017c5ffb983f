"""Zero-shot transfer: search a smaller size and recommend for the target."""

from __future__ import annotations

from admire_pipeline.optimizer import PolicySettings, Space
from admire_pipeline.optimizer.published import SingleFidelity


class ZeroShot(SingleFidelity):
    """The paper's zero-shot transfer: ``admire-bo`` on a smaller fidelity.

    As the official code does it (``bayesopt_thepile.py``), expected improvement searches the
    smaller fidelity alone, and the same model, whose inputs include the cost ratio, predicts the
    target: the best posterior mean there is recommended.

    Args:
        settings: What the user set.
        fidelity: Name of the fidelity to search.
    """

    def __init__(self, settings: PolicySettings, fidelity: str) -> None:
        super().__init__(settings)
        self.fidelity = fidelity
        self.name = f"zero-shot-{fidelity}"

    def position(self, space: Space) -> int:
        """Return the position of the fidelity to search."""
        return [fidelity.name for fidelity in space.fidelities].index(self.fidelity)
