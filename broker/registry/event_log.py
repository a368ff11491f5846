"""The registry's last events, to be replayed when looking for a fault."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from broker.registry.actions import Action
from broker.registry.events import AssignmentHeard, Event, ReaderHeard, ReportHeard, StreamWanted
from broker.registry.state import State
from tiercut.declared import encode_json

#: Two parts are kept, each of this many events: at four ticks a second, the last minutes.
MAX_EVENTS = 500
#: A part also ends with this many bytes of what others sent.
MAX_HEARD_BYTES = 1024 * 1024
#: Of an assigned stream, at most: they are heard once, when a hub starts.
_ASSIGNED_BYTES = 1024


class EventLog:
    """Events since a saved state, and the actions that followed.

    Args:
        start: The registry's state before the first event.
    """

    def __init__(self, start: State) -> None:
        #: states, each with the events after it
        self._parts: deque[tuple[State, list[tuple[Event, Sequence[Action]]]]] = deque([(start.copy(), [])], maxlen=2)
        #: of the last part
        self._heard_bytes = 0

    @property
    def start(self) -> State:
        """The state before the first of `events`."""
        return self._parts[0][0].copy()

    @property
    def events(self) -> list[tuple[Event, Sequence[Action]]]:
        """From oldest to newest, each with the actions that it led to."""
        return [each for _, events in self._parts for each in events]

    def note(self, event: Event, actions: Sequence[Action], after: State) -> None:
        """An event was handled; ``after`` is the state that it left."""
        events = self._parts[-1][1]
        events.append((event, actions))
        self._heard_bytes += _bytes_of(event)
        if len(events) >= MAX_EVENTS or self._heard_bytes >= MAX_HEARD_BYTES:
            self._parts.append((after.copy(), []))
            self._heard_bytes = 0


def _bytes_of(event: Event) -> int:
    """About how much of what others sent an event holds: four bytes per character, as Python may store them."""
    match event:
        case StreamWanted(_, payload):
            return len(payload)
        case ReportHeard(report):
            return 4 * len(encode_json(report))
        case ReaderHeard(status):
            return 4 * len(encode_json(status))
        case AssignmentHeard(_, streams):
            return _ASSIGNED_BYTES * len(streams)
        case _:
            return 0
