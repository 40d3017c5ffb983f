"""What a policy is tried on: a space, runs to be had in it, and a truth to measure regret by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from admire_pipeline.errors import UserError, suggest
from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.optimizer import Fidelity, Space
from admire_pipeline.replay.table import RunTable


@dataclass(frozen=True)
class Evaluation:
    """What one run of a problem gives.

    Attributes:
        score: Its score, to be maximised.
        metrics: ``P`` metrics in the order of ``Space.objective``.
        errors: Their ``P`` standard errors, NaN where they are not known.
    """

    score: float
    metrics: np.ndarray
    errors: np.ndarray


class Problem(ABC):
    """A search whose answer is known.

    Attributes:
        space: What may be tried; costs are in trainings of the target.
        best: The best true score at the target.
        typical: The true score of a mixture picked at random, see the problems.
    """

    def __init__(self, space: Space, best: float, typical: float) -> None:
        self.space = space
        self.best = best
        self.typical = typical

    @abstractmethod
    def evaluate(self, mixture: np.ndarray, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """Run a mixture (``K``) at the fidelity of this position.

        Raises:
            ValueError: If it cannot be run there.
        """

    @abstractmethod
    def truth(self, mixture: np.ndarray) -> float:
        """Return the true score of a mixture (``K``) at the target.

        Raises:
            ValueError: If there is none.
        """

    def regret(self, mixture: np.ndarray) -> float:
        """Return the normalised regret of recommending a mixture (``K``).

        It is ``(best - truth) / (best - typical)``: 0 is perfect and 1 a random pick. Where all
        mixtures score the same there is nothing to regret: 0.
        """
        span = self.best - self.typical
        lost = self.best - self.truth(mixture)
        return float(lost / span) if span > 0 else 0.0


class PoolProblem(Problem):
    """Finished runs replayed: only the table's mixtures may be tried and recommended.

    Recommended may be the mixtures of the target's pool; the regret is by their recorded scores,
    noise and all, and a random pick is one from this pool. At each fidelity the runs of the table's
    pool may be tried. A mixture that has several runs at one fidelity is one mixture with the
    mean of their metrics, as a replay has no second answer for it. Known standard errors are told
    to the policy. Runs that lack a metric of the objective have no score and are left out, and so
    is a smaller fidelity without any other.

    Args:
        table: The runs.
        objective: A name from ``table.objectives()``.

    Raises:
        UserError: If the table has no such objective.
    """

    def __init__(self, table: RunTable, objective: str) -> None:
        weights = objective_weights(table, objective)
        signs = np.array(list(weights.values()))
        columns = [table.metrics.index(name) for name in weights]
        self._runs: list[dict[bytes, Evaluation]] = []
        fidelities: list[Fidelity] = []
        pools: list[np.ndarray] = []
        for fidelity in table.fidelities:
            rows = table.pool(fidelity.name)
            mixtures = np.ascontiguousarray(table.mixtures(fidelity.name)[rows])
            metrics = table.values(fidelity.name)[rows][:, columns]
            variances = table.errors(fidelity.name)[rows][:, columns] ** 2
            scored = np.isfinite(metrics).all(axis=1)
            if not scored.any():
                continue
            pool, sums, counts = _merge(mixtures[scored], np.hstack([metrics, variances])[scored])
            metrics, variances = np.split(sums, 2, axis=1)
            metrics, errors = metrics / counts, np.sqrt(variances) / counts
            fidelities.append(fidelity)
            pools.append(pool)
            self._runs.append(
                {
                    mixture.tobytes(): Evaluation(float(signs @ values), values, unsure)
                    for mixture, values, unsure in zip(pool, metrics, errors, strict=True)
                }
            )
        space = Space(MixtureSpace(table.domains), tuple(fidelities), tuple(pools), weights)
        scores = [run.score for run in self._runs[-1].values()]
        super().__init__(space, max(scores), float(np.mean(scores)))

    def evaluate(
        self, mixture: np.ndarray, fidelity: int, rng: np.random.Generator | None = None
    ) -> Evaluation:
        """Look the run up."""
        try:
            return self._runs[fidelity][_key(mixture)]
        except KeyError:
            name = self.space.fidelities[fidelity].name
            raise ValueError(f"no run of the pool of {name!r} has the mixture {mixture}") from None

    def truth(self, mixture: np.ndarray) -> float:
        """Return the recorded score of a mixture of the target's pool."""
        return self.evaluate(mixture, len(self.space.fidelities) - 1).score


def objective_weights(table: RunTable, objective: str) -> Mapping[str, float]:
    """Return the signed weight of each metric in an objective of a table.

    Raises:
        UserError: If the table has no such objective.
    """
    known = table.objectives()
    if objective not in known:
        raise UserError(
            f"objectives: unknown {objective!r} of table {table.name!r}; "
            f"{suggest(objective, known)}"
        )
    return known[objective]


def _merge(mixtures: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up the values (``n x V``) of equal mixtures (``n x K``), in order of appearance.

    Returns:
        The ``m`` mixtures that differ (``m x K``), their sums (``m x V``), and of how many rows
        (``m x 1``).
    """
    _, first, group = np.unique(mixtures, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), values.shape[1]))
    np.add.at(sums, group, values)
    order = np.argsort(first)
    return mixtures[first[order]], sums[order], np.bincount(group)[order, None]


def _key(mixture: np.ndarray) -> bytes:
    return np.ascontiguousarray(mixture, dtype=np.float64).tobytes()
