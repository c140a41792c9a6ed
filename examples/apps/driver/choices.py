"""What simulated users ask for: a few keys often, most of them seldom."""

from __future__ import annotations

import itertools
import random
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Random users, companies and properties, by Zipf's law, from a seed."""

    def __init__(self, seed: int, *, users: int, companies: int, properties: int) -> None:
        self._random = random.Random(seed)
        # Users 1 to 3 are administrators.
        self._users = _Zipf(self._random, range(4, users + 4))
        self._companies = _Zipf(self._random, range(1, companies + 1))
        self._all_addresses = [f"{n} Harbour Street" for n in range(1, properties + 1)]
        self._addresses = _Zipf(self._random, self._all_addresses)
        self._properties = _Zipf(self._random, [_property(n) for n in range(properties)])

    def user(self) -> int:
        """A user that is no administrator."""
        return self._users.one()

    def company(self) -> int:
        """A company."""
        return self._companies.one()

    def company_of(self, user: int) -> int:
        """One of the two companies that pick up at the user."""
        return (user * 7 + self._random.randrange(2)) % 60 + 1

    def any_address(self) -> str:
        """An address to analyze, each as often as the others."""
        return self._random.choice(self._all_addresses)

    def address(self) -> str:
        """An address to analyze."""
        return self._addresses.one()

    def property(self) -> tuple[str, str, int]:
        """The area, type and size of a property to value."""
        return self._properties.one()

    def one_of(self, *options: T) -> T:
        """One of the options, all alike."""
        return self._random.choice(options)

    def by_weight(self, options: list[T], weights: list[float]) -> T:
        """One of the options, by their weights."""
        return self._random.choices(options, weights)[0]

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self._random.random() < share

    def pause(self, mean: float) -> float:
        """Seconds until the next request of a user."""
        return self._random.expovariate(1 / mean)


def _property(number: int) -> tuple[str, str, int]:
    return f"area-{number % 12}", ("apartment", "villa")[number % 2], 50 + number


class _Zipf:
    def __init__(self, source: random.Random, items: range | list) -> None:
        self._random = source
        self._items = list(items)
        weights = (1 / rank**1.1 for rank in range(1, len(self._items) + 1))
        self._sums = list(itertools.accumulate(weights))

    def one(self):
        return self._random.choices(self._items, cum_weights=self._sums)[0]
