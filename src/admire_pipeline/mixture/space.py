"""The constrained simplex: what a mixture may be, and how to sample and cover it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

_ROUND_OFF = 1e-9
_GIBBS_SWEEPS = 200
# Few enough that a maximin design reaches towards the corners without taking the corners
# themselves, where a model is trained on one domain alone and scores like no useful mixture.
_DESIGN_CANDIDATES = 100


@dataclass(frozen=True)
class MixtureSpace:
    """Mixtures ``w`` over ``K`` domains: ``lower <= w <= upper`` and ``sum(w) = 1``.

    Attributes:
        domains: ``K >= 2`` unique domain names, in the order of the weights.
        lower: ``K`` least weights; zeros when left empty.
        upper: ``K`` greatest weights; ones when left empty.

    Raises:
        ValueError: If the domains or the bounds leave no feasible mixture.
    """

    domains: tuple[str, ...]
    lower: np.ndarray = field(default_factory=lambda: np.empty(0))
    upper: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Fill the default bounds and check that some mixture is feasible."""
        domains = tuple(self.domains)
        count = len(domains)
        if count < 2:
            raise ValueError(f"domains: {list(domains)} has {count}, at least 2 are needed")
        if repeated := sorted({name for name in domains if domains.count(name) > 1}):
            raise ValueError(f"domains: {repeated[0]!r} is named twice, names must be unique")
        lower = np.array(self.lower if np.size(self.lower) else np.zeros(count), dtype=np.float64)
        upper = np.array(self.upper if np.size(self.upper) else np.ones(count), dtype=np.float64)
        if lower.shape != (count,) or upper.shape != (count,):
            raise ValueError(
                f"bounds: shapes {lower.shape} and {upper.shape}, both must be ({count},)"
            )
        for name, low, high in zip(domains, lower, upper, strict=True):
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"bounds.{name}: [{low:g}, {high:g}] must satisfy 0 <= lower <= upper <= 1"
                )
        if lower.sum() > 1 + _ROUND_OFF:
            raise ValueError(
                f"no feasible mixture: lower bounds sum to {lower.sum():g}, at most 1 is allowed"
            )
        if upper.sum() < 1 - _ROUND_OFF:
            raise ValueError(
                f"no feasible mixture: upper bounds sum to {upper.sum():g}, at least 1 is needed"
            )
        lower.setflags(write=False)
        upper.setflags(write=False)
        object.__setattr__(self, "domains", domains)
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @classmethod
    def from_bounds(
        cls,
        domains: Sequence[str],
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> MixtureSpace:
        """Build a space from bounds by domain name.

        Args:
            domains: ``K >= 2`` unique domain names.
            bounds: ``(lower, upper)`` for some of the domains; the others get ``(0, 1)``.

        Returns:
            The space.

        Raises:
            ValueError: If a bound names an unknown domain, or no mixture is feasible.
        """
        bounds = dict(bounds or {})
        for name in bounds:
            if name not in domains:
                near = get_close_matches(name, domains, n=1, cutoff=0.0)
                hint = f", did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"bounds.{name}: not one of the domains{hint}")
        pairs = np.array([bounds.get(name, (0.0, 1.0)) for name in domains], dtype=np.float64)
        pairs = pairs.reshape(-1, 2)
        return cls(tuple(domains), pairs[:, 0], pairs[:, 1])

    def __len__(self) -> int:
        """Return the number of domains ``K``."""
        return len(self.domains)

    def uniform(self) -> np.ndarray:
        """Return the feasible mixture (``K``) nearest to equal weights."""
        return self.project(np.full(len(self), 1 / len(self)))

    def contains(self, mixture: np.ndarray, tolerance: float = 1e-9) -> bool:
        """Tell whether a mixture (``K``) keeps every bound and the sum within ``tolerance``."""
        w = np.asarray(mixture, dtype=np.float64)
        return bool(
            w.shape == (len(self),)
            and np.all(w >= self.lower - tolerance)
            and np.all(w <= self.upper + tolerance)
            and abs(w.sum() - 1) <= tolerance
        )

    def project(self, mixture: np.ndarray) -> np.ndarray:
        """Return the nearest feasible mixture in the Euclidean norm.

        The solution is ``clip(w - t, lower, upper)`` where ``t`` makes it sum to one; the sum is
        piecewise linear and decreasing in ``t`` with breaks at ``w - lower`` and ``w - upper``
        (Wang and Lu 2015, "Projection onto the capped simplex").

        Args:
            mixture: ``K`` or ``n x K`` finite numbers.

        Returns:
            An array of the same shape, each row summing to one within 1e-12.

        Raises:
            ValueError: If an entry is not finite or the last dimension is not ``K``.
        """
        given = np.asarray(mixture, dtype=np.float64)
        if given.shape[-1:] != (len(self),) or not np.all(np.isfinite(given)):
            raise ValueError(f"mixture: needs {len(self)} finite weights, got {given!r}")
        rows = [self._project_one(row) for row in given.reshape(-1, len(self))]
        return np.array(rows, dtype=np.float64).reshape(given.shape)

    def _project_one(self, point: np.ndarray) -> np.ndarray:
        breaks = np.unique(np.concatenate([point - self.lower, point - self.upper]))
        sums = np.clip(point - breaks[:, None], self.lower, self.upper).sum(axis=1)
        # np.interp wants increasing abscissae; the sums fall as the shift grows.
        shift = np.interp(1.0, sums[::-1], breaks[::-1])
        w = np.clip(point - shift, self.lower, self.upper)
        # The last bits of round-off go to the largest weight, so that zeros stay exactly zero.
        w[np.argmax(w)] += 1 - w.sum()
        return w

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw mixtures uniformly from the polytope.

        Without effective upper bounds this is a shifted and scaled flat Dirichlet, which is exact.
        Otherwise a Gibbs sampler moves weight between random pairs of domains, each move uniform
        on its feasible segment; the uniform distribution is its stationary distribution.

        Args:
            n: Number of mixtures.
            rng: Source of randomness.

        Returns:
            ``n x K`` feasible mixtures.
        """
        w = self._dirichlet(np.ones(n), rng)
        if np.all(self.upper >= self.lower + self._slack):
            return w
        w = self.project(w)
        for _ in range(_GIBBS_SWEEPS):
            order = rng.permutation(len(self))
            for i, j in zip(order[0::2], order[1::2], strict=False):
                total = w[:, i] + w[:, j]
                low = np.maximum(self.lower[i], total - self.upper[j])
                high = np.minimum(self.upper[i], total - self.lower[j])
                w[:, i] = low + (high - low) * rng.random(n)
                w[:, j] = total - w[:, i]
        return self.project(w)

    def spread(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw mixtures that range from the centre of the polytope to its faces and corners.

        Each is a Dirichlet draw with its own concentration, log-uniform in [0.5, 3], projected
        where an upper bound cuts (RegMix, Liu et al. 2024, also varies the concentration).

        Args:
            n: Number of mixtures.
            rng: Source of randomness.

        Returns:
            ``n x K`` feasible mixtures.
        """
        return self.project(self._dirichlet(np.exp(rng.uniform(np.log(0.5), np.log(3.0), n)), rng))

    def design(self, n: int, rng: np.random.Generator, *, even: int = 0) -> np.ndarray:
        """Return a space-filling design that starts at the uniform mixture.

        Each further mixture is the one of many spread and uniform draws that is farthest from
        those before it (greedy maximin, Johnson et al. 1990) in the Hellinger distance, so a
        longer design with the same ``rng`` state extends a shorter one.

        Args:
            n: Number of mixtures.
            rng: Source of randomness.
            even: So many at the beginning are of the uniform draws alone.

        Returns:
            ``n x K`` feasible mixtures.
        """
        pool = np.vstack(
            [
                self.uniform()[None],
                self.sample(_DESIGN_CANDIDATES, rng),
                self.spread(_DESIGN_CANDIDATES, rng),
            ]
        )
        roots = np.sqrt(np.maximum(pool, 0))
        chosen: list[int] = []
        distance = np.full(len(pool), np.inf)
        for number in range(n):
            within = 1 + _DESIGN_CANDIDATES if number < even else len(pool)
            chosen.append(int(np.argmax(distance[:within])))
            distance = np.minimum(distance, np.linalg.norm(roots - roots[chosen[-1]], axis=1))
        return pool[chosen]

    @property
    def _slack(self) -> float:
        """Weight left to share out once every domain has its lower bound."""
        return max(0.0, 1 - float(self.lower.sum()))

    def _dirichlet(self, concentration: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n x K`` mixtures above the lower bounds, one per concentration (``n``)."""
        # A floor keeps a row of underflowed gammas (tiny concentrations) from dividing 0 by 0.
        shape = (len(concentration), len(self))
        shares = rng.standard_gamma(concentration[:, None], shape) + 1e-300
        shares /= shares.sum(axis=1, keepdims=True)
        return self.lower + self._slack * shares
