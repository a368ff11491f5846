"""What follows at once from what the registry hears from the bus."""

from __future__ import annotations

import logging

from broker.registry.actions import Remove
from broker.registry.events import (
    AssignmentFailed,
    AssignmentHeard,
    EdgeHeard,
    Heard,
    ReaderHeard,
    ReportHeard,
    StatusForgotten,
    StreamWanted,
)
from broker.registry.state import MAX_WANTED, Entry, State
from tiercut.errors import TiercutError
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.streams import Assignment, SourceReport, decode_wanted

log = logging.getLogger(__name__)


def hear(state: State, event: Heard) -> None:
    """Take in what comes from the bus."""
    match event:
        case StreamWanted(name, payload):
            _stream_wanted(state, name, payload)
        case ReaderHeard(status, now_s):
            _reader_heard(state, status, now_s)
        case EdgeHeard(node):
            state.reader(node).edge = True
        case ReportHeard(report):
            _report_heard(state, report)
        case AssignmentHeard(node, streams):
            _assignment_heard(state, node, streams)
        case AssignmentFailed(node):
            state.reader(node).told = None
        case StatusForgotten(stream):
            if (known := state.entries.get(stream)) is not None:
                known.said = None


def _stream_wanted(state: State, name: str, payload: bytes) -> None:
    """Settings of a stream, or none any more; repeating them changes nothing."""
    known = state.entries.get(name)
    if known is not None and known.fixed:
        known.taken = payload
    elif not payload:
        if state.entries.pop(name, None) is not None:
            state.todo.append(Remove(name))
    elif known is None or known.payload != payload:
        if known is None and len(state.entries) >= MAX_WANTED:
            log.error("too many streams", extra={"stream": name, "most": MAX_WANTED})
            return
        entry = Entry(name) if known is None else known
        entry.payload, entry.refusal, entry.checked_s = payload, "", float("-inf")
        entry.bundle = entry.planned_for = entry.report = entry.rival = None
        try:
            entry.settings = decode_wanted(payload, name)
        except TiercutError as error:
            entry.settings = None
            state.refuse(entry, str(error))
        state.entries[name] = entry


def _reader_heard(state: State, status: NodeStatus, now_s: float) -> None:
    """A node of the device tier comes, goes, or says that it is a gateway."""
    reader = state.reader(status.node)
    online = status.state == "online"
    if reader.online and not online:
        reader.away_s = now_s
    reader.online = online
    reader.claims = status.gateway if online else reader.claims


def _report_heard(state: State, report: SourceReport) -> None:
    """The report of the node that reads a stream's sensor, or of a device that reads another under the same name."""
    entry = state.entries.get(report.stream)
    if entry is None:
        return
    if entry.node is None or report.node == entry.node:
        entry.report = report
    elif report.state == "running" and not state.is_gateway(report.node):
        entry.rival = report


def _assignment_heard(state: State, node: str, streams: tuple[Assignment, ...]) -> None:
    """Streams of the bus stay with the node that reads them."""
    state.reader(node).told = streams
    for each in streams:
        entry = state.entries.get(each.settings.name)
        if entry is not None and entry.settings is not None and entry.settings.from_bus and entry.node is None:
            entry.node, entry.rival = node, None
            if entry.report is not None and entry.report.node != node:
                entry.report = None
