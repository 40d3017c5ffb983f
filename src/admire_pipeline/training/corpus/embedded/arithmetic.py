"""Synthetic questions and answers about numbers, as in the Pile's dm_mathematics.

The kinds of question follow D. Saxton et al., "Analysing Mathematical Reasoning Abilities of Neural
Models", ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random

DOCUMENTS = 600
"""Documents made."""

QUESTIONS = 60
"""Questions in a document."""


def _number(random: Random) -> int:
    """Small numbers are as frequent as large ones."""
    return random.randint(-(10 ** random.randint(1, 4)), 10 ** random.randint(1, 4))


def _sum(random: Random) -> tuple[str, object]:
    a, b = _number(random), _number(random)
    if random.random() < 0.5:
        return f"What is {a} + {b}?", a + b
    return f"Work out {a} minus {b}.", a - b


def _product(random: Random) -> tuple[str, object]:
    a, b = _number(random), random.randint(-99, 99)
    return f"Calculate {a} times {b}.", a * b


def _division(random: Random) -> tuple[str, object]:
    a, b = abs(_number(random)), random.randint(2, 60)
    if random.random() < 0.5:
        return f"What is the remainder when {a} is divided by {b}?", a % b
    return f"Divide {a} by {b} and simplify.", Fraction(a, b)


def _equation(random: Random) -> tuple[str, object]:
    a, x, b = random.randint(2, 30), random.randint(-50, 50), random.randint(-200, 200)
    variable = random.choice("abcdhkmnprtwxyz")
    sign = "+" if b >= 0 else "-"
    return f"Solve {a}*{variable} {sign} {abs(b)} = {a * x + b} for {variable}.", x


def _divisor(random: Random) -> tuple[str, object]:
    common = random.randint(1, 40)
    a, b = common * random.randint(1, 60), common * random.randint(1, 60)
    if random.random() < 0.5:
        return f"What is the greatest common divisor of {a} and {b}?", math.gcd(a, b)
    return f"What is the least common multiple of {a} and {b}?", math.lcm(a, b)


def _sequence(random: Random) -> tuple[str, object]:
    start, step, bend = _number(random), random.randint(-60, 60), random.randint(-3, 3)
    terms = [start + step * i + bend * i * i for i in range(6)]
    return f"What comes next: {', '.join(map(str, terms[:5]))}?", terms[5]


def _order(random: Random) -> tuple[str, object]:
    numbers = [_number(random) for _ in range(random.randint(3, 6))]
    return f"Sort {', '.join(map(str, numbers))}.", ", ".join(map(str, sorted(numbers)))


def _base(random: Random) -> tuple[str, object]:
    number = random.randint(0, 5000)
    if random.random() < 0.5:
        return f"Write {number} in base 2.", f"{number:b}"
    return f"What is {number:x} (base 16) in base 10?", number


def _fraction(random: Random) -> tuple[str, object]:
    a, b = (Fraction(random.randint(1, 40), random.randint(2, 40)) for _ in range(2))
    return f"Let f = {a} and g = {b}. Give f + g.", a + b


def _factors(random: Random) -> tuple[str, object]:
    number = rest = random.randint(2, 3000)
    factors = []
    for prime in range(2, number + 1):
        while rest % prime == 0:
            factors.append(prime)
            rest //= prime
        if rest == 1:
            break
    return f"List the prime factors of {number}.", ", ".join(map(str, factors))


KINDS: tuple[Callable[[Random], tuple[str, object]], ...] = (
    *(_sum, _product, _division, _equation, _divisor),
    *(_sequence, _order, _base, _fraction, _factors),
)
"""The kinds of question."""


def documents() -> Iterator[str]:
    """Documents of `QUESTIONS` questions, each of three kinds; the same on every machine."""
    for number in range(DOCUMENTS):
        random = Random(number)  # noqa: S311 - not for secrets
        kinds = random.sample(KINDS, 3)
        yield "\n".join(
            f"{question}\n{answer}\n"
            for question, answer in (random.choice(kinds)(random) for _ in range(QUESTIONS))
        )
