"""A line per result, for people: when, which stream, what, how long, who."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tiercut.errors import BadMessage
from tiercut.names import printable
from tiercut.plan import FULL
from tiercut.results.result_json import Journey, read_result

#: Width of the columns that people's names fill; longer names are shown whole.
STREAM, WHAT, LATENCY, WHO = 12, 36, 10, 12
#: Numbers of an output that are shown.
SHOWN = 4


def line(payload: bytes) -> str:
    """One result in one line of text without control characters; of what is no result, why not."""
    try:
        journey, reading = read_result(payload)
        who = str(json.loads(payload).get("finished_by", "?"))
    except BadMessage as error:
        return printable(f"not a result: expected {error.expected}, got {error.came}")
    at = datetime.fromtimestamp(journey.captured_unix_s, UTC).astimezone()
    latency = "- ms" if journey.latency_s is None else f"{journey.latency_s * 1e3:.1f} ms"
    cells = [
        at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}",
        journey.stream.ljust(STREAM),
        what(reading.said).ljust(WHAT),
        latency.rjust(LATENCY),
        who.ljust(WHO),
        ", ".join(_remarks(journey)),
    ]
    return printable("  ".join(cells)).rstrip()


def what(said: Any) -> str:
    """The best label, or the numbers of the first output."""
    try:
        if "labels" in said:
            best = said["labels"][0]
            return f"{best['label']} {float(best['score']):.2f}"
        output = said["outputs"][0]
        values = output.get("values")
        if values is None:
            return f"{output['name']}: largest at {output['argmax']}, {float(output['max']):.4g}"
        numbers = " ".join(f"{float(each):.4g}" for each in values[:SHOWN])
        return f"{output['name']}: {numbers}{' …' if len(values) > SHOWN else ''}"
    except (LookupError, TypeError, ValueError, AttributeError):
        return "-"


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
