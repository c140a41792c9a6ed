"""Figures of the answers that users saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .load import Answer
from .window import Window


def within(answers: Iterable[Answer], window: Window) -> list[Answer]:
    """The answers to requests that began in it."""
    return [answer for answer in answers if window.begin <= answer.began < window.end]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that this share of the values does not exceed, or None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def latency(answers: Iterable[Answer], share: float = 0.5) -> float | None:
    """A percentile of the seconds until the answers, or None without answers."""
    return percentile([answer.seconds for answer in answers], share)


def queries(log: Path, window: Window) -> Counter[str]:
    """The number of queries by their names."""
    found: Counter[str] = Counter()
    if log.exists():
        for line in log.read_text().splitlines():
            moment, _, name = line.partition(" ")
            if window.begin <= float(moment) < window.end:
                found[name] += 1
    return found


def by_label(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """The answers of each endpoint."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.label, []).append(answer)
    return found
