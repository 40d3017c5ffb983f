"""How the surrogate is fitted: draws of hyperparameters, weighed by what the trials say of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from admire_pipeline.optimizer.embedding import Embedding
from admire_pipeline.optimizer.evidence import SCALE_WEIGHT, Data, chunks, factor, weigh
from admire_pipeline.optimizer.hyperparameters import cross, draw_hyperparameters
from admire_pipeline.optimizer.numerics import one_thread
from admire_pipeline.optimizer.space import Space
from admire_pipeline.optimizer.standardise import standardise
from admire_pipeline.optimizer.surrogate import Part, Surrogate
from admire_pipeline.optimizer.trials import Trials

_DRAWS = 128
_BASES, _CROSSED = 16, 8  # so many of the best are crossed with so many coregionalizations
_FIRST_LOOK, _SECOND_LOOK = 32, 64  # trials: enough to tell good hyperparameters from bad ones
_KEPT, _LEAST_KEPT = 32, 8  # draws, the most probable ones over all metrics
_NUMBERS = 2**20  # in the factors of those kept: 8 MB, which stay in the cache
_LEAST_PROBABILITY = 1e-2
_PARTS = 4  # models beside one another, one for each group of metrics that the same trials have
_LEAST_LEFT = 0.5  # of the values of two that become one


@dataclass(frozen=True)
class SurrogateSettings:
    """Choices in the surrogate, each of which the ablation takes back in turn.

    Attributes:
        roots: Square roots of weights (the Hellinger embedding) as inputs, not the weights.
        per_metric: One output per metric of the objective, not one for the score.
        averaged: Average over hyperparameters, not the most probable draw alone.
        noise_per_fidelity: One noise per fidelity, not the same for all.
        linear: A linear part beside the Matern part.
        guard: Models of the target alone among those averaged over.
        crossed: The best draws come with the correlations of others too, not with their own alone.
    """

    roots: bool = True
    per_metric: bool = True
    averaged: bool = True
    noise_per_fidelity: bool = True
    linear: bool = True
    guard: bool = True
    crossed: bool = True


@one_thread()
def fit(space: Space, seen: Trials, settings: SurrogateSettings) -> Surrogate:
    """Weigh hyperparameters by how well they explain the trials, and condition on these.

    Args:
        space: The campaign's space.
        seen: At least one observed trial, at any fidelity.
        settings: Choices in the model.
    """
    outputs = _outputs(space, seen, settings)
    count = len(space.fidelities)
    embed = Embedding.of(space, settings.roots)
    inputs = embed(torch.from_numpy(seen.mixtures))
    prior = partial(
        draw_hyperparameters,
        fidelities=count,
        one_noise=not settings.noise_per_fidelity,
        linear=settings.linear,
    )
    several = settings.averaged and count > 1
    crossed = several and settings.crossed
    draws = prior(_DRAWS, guard=settings.guard and several and not crossed)
    level = 0.0
    data = []
    for rows, columns in _patterns(outputs.values):
        where = seen.fidelities[rows]
        found = [standardise(outputs.values[rows, column], where, count) for column in columns]
        location, scale = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        level += float(outputs.weights[columns] @ location[-1])
        standard = (outputs.values[np.ix_(rows, columns)] - location[where]) / scale[where]
        evaluation = _evaluation_noise(outputs, seen, rows, columns, scale[where])
        names = [outputs.names[column] for column in columns] if outputs.names else []
        data.append(
            Data(
                inputs[rows],
                torch.from_numpy(where),
                torch.from_numpy(standard),
                torch.from_numpy(evaluation),
                torch.from_numpy(outputs.weights[columns] * scale[-1]),
                tuple(zip(names, location[-1].tolist(), scale[-1].tolist(), strict=False)),
            )
        )
    most = _FIRST_LOOK if crossed else _SECOND_LOOK
    probabilities = [weigh(draws, part, averaged=settings.averaged, most=most) for part in data]
    if crossed:
        # Trials of one size single draws out for what they say of that size, and would take their
        # correlations with the other sizes, of which these tell nothing, along with them.
        best = torch.cat(probabilities, dim=1).sum(dim=1).argsort(descending=True, stable=True)
        others = prior(_CROSSED, skip=_DRAWS, guard=settings.guard)
        draws = cross(draws[best[:_BASES]], others)
        probabilities = [weigh(draws, part, averaged=True, most=_SECOND_LOOK) for part in data]
    together = torch.cat(probabilities, dim=1)
    likely = (together >= _LEAST_PROBABILITY * together.amax(dim=0)).any(dim=1).nonzero()[:, 0]
    numbers = sum(len(part.inputs) ** 2 for part in data)  # of one draw, in all factors
    room = max(_LEAST_KEPT, min(_KEPT, _NUMBERS // numbers))
    likely = likely[together[likely].sum(dim=1).argsort(descending=True, stable=True)[:room]]
    draws = draws[likely]
    parts = []
    for part, probability in zip(data, probabilities, strict=True):
        # A metric whose own draws are not among those kept falls back on all of these.
        kept = probability[likely] + 1e-12
        factors = [factor(chunk, part) for chunk in chunks(draws, part)]
        root, white, quadratic = (torch.cat(each) for each in zip(*factors, strict=True))
        trials = len(part.inputs)
        variance = (SCALE_WEIGHT + quadratic) / (SCALE_WEIGHT + trials - 2)
        parts.append(
            Part(
                part.inputs,
                part.fidelities,
                root,
                white,
                kept / kept.sum(dim=0),
                variance,
                part.weights,
                part.units,
            )
        )
    return Surrogate(embed, draws, tuple(parts), level, _known_noise(seen, count))


@dataclass(frozen=True)
class _Outputs:
    """What is modelled.

    Attributes:
        values: ``n x P``, NaN where unknown.
        errors: ``n x P`` standard errors of them, NaN where unknown.
        weights: ``P`` weights in the score.
        names: ``P`` names of metrics, none where it is the score alone.
    """

    values: np.ndarray
    errors: np.ndarray
    weights: np.ndarray
    names: tuple[str, ...]


def _outputs(space: Space, seen: Trials, settings: SurrogateSettings) -> _Outputs:
    weights = np.array(list(space.objective.values()), dtype=np.float64)
    used = np.flatnonzero((weights != 0) & np.isfinite(seen.metrics).any(axis=0))
    alone = len(used) < 1 or not np.isfinite(seen.metrics[:, used]).any(axis=1).all()
    if alone or not settings.per_metric:
        # There are no metrics, or some trials have none.
        return _Outputs(seen.scores[:, None], seen.score_errors[:, None], np.ones(1), ())
    names = tuple(np.array(list(space.objective))[used])
    return _Outputs(seen.metrics[:, used], seen.metric_errors[:, used], weights[used], names)


def _patterns(values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group metrics (of ``n x P``) by the trials that have them: the rows, and the columns.

    Each group is a model of its own, so there are to be few. While there are more than ``_PARTS``
    two are made one, of the trials that have both: those that lose fewest of their values, and half
    of these at most.
    """
    known = np.isfinite(values)
    _, group = np.unique(known, axis=1, return_inverse=True)
    columns = [np.flatnonzero(group.ravel() == index) for index in range(group.max() + 1)]
    while len(columns) > _PARTS:
        pairs = [np.append(*pair) for pair in combinations(columns, 2)]
        had = np.array([known[:, pair].sum() for pair in pairs])
        left = np.array([known[:, pair].all(axis=1).sum() * len(pair) for pair in pairs])
        loss = np.where(left >= _LEAST_LEFT * had, had - left, np.inf)
        if not np.isfinite(loss.min()):
            break
        merged = pairs[int(loss.argmin())]
        gone = set(merged)
        columns = [other for other in columns if other[0] not in gone] + [np.sort(merged)]
    return [(np.flatnonzero(known[:, each].all(axis=1)), each) for each in columns]


def _known_noise(seen: Trials, count: int) -> Tensor:
    """Return the mean square of the scores' standard errors at each size, 0 if none are known.

    Sizes without any have that of the others: the evaluation is the same.
    """
    squares = seen.score_errors**2
    known = np.isfinite(squares)
    if not known.any():
        return torch.zeros(count, dtype=torch.float64)
    at = [squares[known & (seen.fidelities == size)] for size in range(count)]
    overall = squares[known].mean()
    return torch.tensor([each.mean() if len(each) else overall for each in at])


def _evaluation_noise(
    outputs: _Outputs, seen: Trials, rows: np.ndarray, columns: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Return the part of the noise variance (``n``) that standard errors tell, standardised.

    It is one for all metrics of a part, as these share their covariances: the mean of what their
    own errors tell, or where none is known, what the score's does.
    """
    own = (outputs.errors[np.ix_(rows, columns)] / scale) ** 2
    known = np.isfinite(own)
    mean = np.where(known, own, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    # That of a score of independent metrics, each with an error in the same ratio to its spread.
    spread = np.sqrt(((outputs.weights[columns] * scale) ** 2).sum(axis=1))
    spread = spread * math.sqrt(len(outputs.weights) / len(columns))
    of_score = np.nan_to_num((seen.score_errors[rows] / np.maximum(spread, 1e-300)) ** 2)
    return np.minimum(np.where(known.any(axis=1), mean, of_score), 1e6)
