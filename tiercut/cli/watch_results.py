"""A line per result, for people: when, which stream, what, how long, who."""

from __future__ import annotations

from datetime import UTC, datetime

from tiercut.declared import load_json, read
from tiercut.errors import BadMessage
from tiercut.names import printable
from tiercut.plan import FULL
from tiercut.protocol.results import MAX_OUTCOME_BYTES, Journey, Result, journey_of
from tiercut.results.reading import headline_in

#: Width of the columns that people's names fill; longer names are shown whole.
STREAM, WHAT, LATENCY, WHO = 12, 36, 10, 12


def line(payload: bytes) -> str:
    """One result in one line of text without control characters; of what is no result, why not."""
    try:
        fields = load_json(payload, limit=MAX_OUTCOME_BYTES)
        result = read(Result, fields)
        journey = journey_of(result)
    except BadMessage as error:
        return printable(f"not a result: expected {error.expected}, got {error.came}")
    at = datetime.fromtimestamp(journey.captured_unix_s, UTC).astimezone()
    latency = "- ms" if journey.latency_s is None else f"{journey.latency_s * 1e3:.1f} ms"
    cells = [
        at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}",
        journey.stream.ljust(STREAM),
        " ".join(headline_in(fields)).rstrip().ljust(WHAT),
        latency.rjust(LATENCY),
        result.finished_by.ljust(WHO),
        ", ".join(_remarks(journey)),
    ]
    return printable("  ".join(cells)).rstrip()


def _remarks(journey: Journey) -> list[str]:
    """What is not as with every frame."""
    remarks = []
    if journey.exit != FULL:
        remarks.append(f"left at {journey.exit}")
    if journey.cached:
        remarks.append("cached")
    if journey.deadline_met is False:
        remarks.append("late")
    if journey.fallback is not None:
        remarks.append(f"fallback: {journey.fallback}")
    return remarks
