"""The state of a stream, in one word and a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from broker.registry.fitting import name_taken
from broker.registry.state import Entry, Reader, State
from tiercut.declared import iso_time
from tiercut.protocol.streams import StreamState, StreamStatus, Trouble, settings_id


def status_of(entry: Entry, state: State, unix_s: float) -> StreamStatus:
    """The status of a stream; ``unix_s`` is now."""
    readers, plan_trouble = state.readers, state.plan_troubles.get(entry.name)
    word, message = _state(entry, readers)
    settings, report = entry.settings, entry.report
    trouble = list(report.trouble if report is not None else ())
    if plan_trouble and word in {"running", "waiting"}:
        trouble.append(Trouble("plan", plan_trouble, 1, iso_time(unix_s)))
    if entry.taken:
        trouble.append(Trouble("name_taken", str(name_taken(entry.name)), 1, iso_time(unix_s)))
    rival = None if entry.rival is None else entry.rival.node
    if rival is not None and rival in readers and readers[rival].online:
        said = f"'{rival}' reads a sensor for a stream of this name too; give one of them another name"
        trouble.append(Trouble("two_streams", said, 1, iso_time(unix_s)))
    return StreamStatus(
        stream=entry.name,
        state=word,
        message=message,
        model=settings.model if settings is not None else "",
        sensor=settings.sensor if settings is not None else "",
        device=entry.node,
        gateway=state.is_gateway(entry.node),
        frames=report.frames if report is not None else {},
        trouble=tuple(trouble),
        settings_id=settings_id(entry.taken or entry.payload),
    )


def _state(entry: Entry, readers: Mapping[str, Reader]) -> tuple[StreamState, str]:
    """In which state a stream is, and why."""
    if entry.refusal or entry.settings is None:
        return "refused", entry.refusal
    if entry.node is None:
        full = any(reader.gateway and reader.online for reader in readers.values())
        return (
            "waiting",
            "all edges are full; start another one" if full else "no edge is online to read the sensor; start one",
        )
    reader = readers.get(entry.node)
    if reader is None or not reader.online:
        return "waiting", f"'{entry.node}' is not online; start it"
    if not entry.settings.sensor:
        return "running", ""
    return _sensor_state(entry)


def _sensor_state(entry: Entry) -> tuple[StreamState, str]:
    """As the node that reads the sensor says."""
    report = entry.report
    if report is None:
        return "waiting", f"'{entry.node}' has not opened the sensor yet"
    if report.model and entry.bundle is not None and report.model != entry.bundle.model:
        own = f"'{report.node}' has a stream of this name in its own settings, with another model"
        return "failed", f"{own}; give one of them another name"
    said: Mapping[str, tuple[StreamState, str]] = {
        "waiting": ("waiting", report.message),
        "silent": ("waiting", "the sensor has given nothing yet"),
        "failed": ("failed", report.message),
        "ended": ("ended", "the sensor has come to its end"),
        "running": ("running", ""),
    }
    return said[report.state]


def headline(status: StreamStatus) -> tuple[object, ...]:
    """What is published at once when it changes."""
    reasons = tuple(each.reason for each in status.trouble)
    return status.state, status.message, status.device, status.settings_id, reasons


def same_but_times(one: StreamStatus | None, other: StreamStatus) -> bool:
    """Whether two statuses are the same but for their times."""
    if one is None or headline(one) != headline(other) or one.frames != other.frames:
        return False
    counts = [[(each.message, each.count) for each in status.trouble] for status in (one, other)]
    return counts[0] == counts[1] and (one.model, one.sensor, one.gateway) == (other.model, other.sensor, other.gateway)
