"""The tables that a run prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .changes import CHANGES, RECALCULATION
from .endpoints import READS
from .figures import by_label, latency, queries, within
from .fleet_stats import FleetStats
from .load import Answer
from .window import Window


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, in columns. All but the first are aligned to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def milliseconds(seconds: float | None) -> str:
    """Seconds as text in milliseconds."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:,.1f} ms" if value < 10 else f"{value:,.0f} ms"


def share(part: int, whole: int) -> str:
    """A share in percent."""
    return "-" if whole == 0 else f"{100 * part / whole:.1f} %"


def reads(before: Sequence[Answer], during: Sequence[Answer], log: Path, window: Window) -> str:
    """Each endpoint without and with the cache."""
    without, with_cache = by_label(before), by_label(during)
    ran = queries(log, window)
    rows, sums = [], [0, 0]
    for endpoint in READS:
        answers = with_cache.get(endpoint.label, [])
        hits = [answer for answer in answers if answer.hit]
        slow, fast = latency(without.get(endpoint.label, [])), latency(hits)
        saved = max(0, len(answers) - ran[endpoint.query])
        sums[0] += len(answers)
        sums[1] += saved
        rows.append(
            (
                endpoint.label,
                endpoint.ttl,
                milliseconds(slow),
                milliseconds(fast),
                milliseconds(latency(hits, 0.95)),
                f"{slow / fast:.0f} x" if slow and fast else "-",
                f"{len(answers):,}",
                share(saved, len(answers)),
                f"{saved:,}",
            )
        )
    slow, fast = latency(before), latency([answer for answer in during if answer.hit])
    rows.append(
        (
            "all",
            "",
            milliseconds(slow),
            milliseconds(fast),
            milliseconds(latency([answer for answer in during if answer.hit], 0.95)),
            f"{slow / fast:.0f} x" if slow and fast else "-",
            f"{sums[0]:,}",
            share(sums[1], sums[0]),
            f"{sums[1]:,}",
        )
    )
    heads = (
        "endpoint", "TTL", "before", "after (hit)", "p95", "faster", "requests", "hit rate",
        "queries saved",
    )  # fmt: skip
    return table(heads, rows)


def hit_rate(during: Sequence[Answer], log: Path, window: Window) -> float:
    """The share of the reads that caused no query."""
    asked = [answer for answer in during if answer.cached is not None]
    ran = sum(queries(log, window)[endpoint.query] for endpoint in READS)
    return 1 - ran / len(asked) if asked else 0.0


def changes(answers: Sequence[Answer]) -> str:
    """Each kind of change, and the reads that had to show it."""
    found = by_label(answers)
    rows = [
        (
            change.label,
            change.invalidates,
            f"{len(found.get(change.label, [])):,}",
            milliseconds(latency(found.get(change.label, []))),
            milliseconds(latency(found.get(change.label, []), 0.95)),
        )
        for change in (*CHANGES, RECALCULATION)
    ]
    return table(("change", "invalidates", "requests", "median", "p95"), rows)


def namespaces(stats: Sequence[FleetStats]) -> str:
    """Each namespace, as the fleet counts it."""
    rows = [
        (
            each.namespace,
            f"{each.reads:,}",
            "-" if each.hit_rate is None else f"{100 * each.hit_rate:.1f} %",
            f"{each.waited:,}",
            f"{each.refused:,}",
        )
        for each in stats
    ]
    heads = ("namespace", "reads", "hit rate", "waited", "refused fills")
    return table(heads, rows)


def services(answers: Sequence[Answer], away: Window) -> str:
    """Each service."""
    rows = []
    for name in ("fastapi", "flask", "express"):
        mine = [answer for answer in answers if answer.service == name]
        hits = [answer for answer in mine if answer.hit]
        old = [answer for answer in mine if answer.stale is not None]
        shared = sum(answer.is_shared(away) for answer in old)
        rows.append(
            (
                name,
                f"{len(mine):,}",
                milliseconds(latency(hits)),
                milliseconds(latency(hits, 0.95)),
                f"{sum(answer.error is not None for answer in mine)}",
                f"{len(old) - shared}",
                f"{shared}",
            )
        )
    heads = ("service", "requests", "hit", "hit p95", "errors", "stale", "shared in the outage")
    return table(heads, rows)


def seconds(answers: Sequence[Answer], window: Window, events: dict[float, str]) -> str:
    """What users saw second by second, with the events of the outage."""
    rows = []
    for number in range(int(window.end - window.begin)):
        part = Window(window.begin + number, window.begin + number + 1)
        mine = within(answers, part)
        read = [answer for answer in mine if answer.cached is not None]
        statuses = sorted({str(answer.status) for answer in mine})
        happened = [text for moment, text in events.items() if part.begin <= moment < part.end]
        rows.append(
            (
                f"{number} s",
                f"{len(mine):,}",
                " ".join(statuses) or "-",
                share(sum(bool(answer.cached) for answer in read), len(read)),
                milliseconds(latency(mine)),
                milliseconds(max((answer.seconds for answer in mine), default=None)),
                ", ".join(happened),
            )
        )
    heads = ("second", "requests", "statuses", "from the cache", "median", "slowest", "event")
    return table(heads, rows)
