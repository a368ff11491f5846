"""The registry of a site's streams: which are wanted, whether they fit, who reads their sensors, and their state.

A state machine like the coordinator: what was heard goes in as events, what is to be done comes out of the event
`Tick`. Nothing is kept on disk: what is wanted is retained on the bus (topic ``wanted``) or stands in the hub's
settings, and who reads what is retained for the nodes (topic ``streams``), so a restarted hub changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.registry.actions import Action
from broker.registry.answers import KnownStream, Retained, RunningStream
from broker.registry.events import Event, ModelsFound, PlanTroubles, StreamFixed, Tick
from broker.registry.fitting import fitting_model, name_taken
from broker.registry.hearing import hear
from broker.registry.state import MAX_WANTED, Entry, State
from broker.registry.tick import tick
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import StreamStatus


class Registry:
    """The streams of one site.

    Args:
        by_hand: Names of streams that have a plan by hand in the hub's settings.
        log: Gets every event that was handled: another registry that handles them in this order gives the same actions.
    """

    def __init__(self, by_hand: frozenset[str] = frozenset(), *, log: list[Event] | None = None) -> None:
        self._state = State(by_hand=by_hand)
        self._log = log

    def handle(self, event: Event) -> Sequence[Action]:
        """Take in an event.

        Returns:
            What is to be done now: only a `Tick` has actions.

        Raises:
            TiercutError: a `StreamFixed` that does not fit its model, or has none; nothing has changed.
        """
        state, actions = self._state, list[Action]()
        match event:
            case Tick(now_s, unix_s):
                actions = tick(state, now_s, unix_s)
            case ModelsFound(by_name):
                state.models = by_name
            case PlanTroubles(by_stream):
                state.plan_troubles = by_stream
            case StreamFixed(settings):
                entry = Entry(settings.name, settings=settings, fixed=True, bundle=self._fits(settings))
                state.entries[settings.name] = entry
            case _:
                hear(state, event)
        if self._log is not None:
            self._log.append(event)
        return actions

    @property
    def state(self) -> State:
        """A copy of all that it knows."""
        return self._state.copy()

    def validate_state(self) -> None:
        """See `State.validate`."""
        self._state.validate()

    # ------------------------------------------------------------------ questions

    def knows(self, name: str) -> bool:
        """Whether a stream is wanted, or has a plan by hand."""
        return name in self._state.entries or name in self._state.by_hand

    def find(self, name: str) -> KnownStream | None:
        """A stream that is wanted."""
        entry = self._state.entries.get(name)
        return None if entry is None else KnownStream(entry.settings, entry.said, entry.fixed)

    @property
    def settled(self) -> bool:
        """Whether all streams run as they should, and stay with the nodes that read them."""
        return self._state.settled

    @property
    def names(self) -> tuple[str, ...]:
        """Of all streams that are wanted, sorted."""
        return tuple(sorted(self._state.entries))

    @property
    def running(self) -> tuple[RunningStream, ...]:
        """Those that may run, which get access rights."""
        return tuple(
            RunningStream(entry.settings, entry.node, entry.bundle)
            for entry in self._state.entries.values()
            if entry.settings is not None and entry.bundle is not None and not entry.refusal
        )

    @property
    def statuses(self) -> tuple[StreamStatus, ...]:
        """As they were last published, by name."""
        entries = self._state.entries
        return tuple(status for name in self.names if (status := entries[name].said) is not None)

    @property
    def retained(self) -> Retained:
        """What the broker should have."""
        entries = self._state.entries
        return Retained(
            {name: entry.payload for name, entry in entries.items() if not entry.fixed},
            frozenset(status.stream for status in self.statuses),
            {node: reader.told for node, reader in self._state.readers.items() if reader.told is not None},
        )

    def check(self, settings: StreamSettings) -> None:
        """Whether a stream could be added.

        Raises:
            TiercutError: says why not.
        """
        known = self._state.entries.get(settings.name)
        if known is not None and known.fixed:
            raise name_taken(settings.name)
        if known is None and len(self._state.entries) >= MAX_WANTED:
            raise SettingsError(
                "the registry is full",
                expected=f"at most {MAX_WANTED} streams",
                came="one more",
                fix="remove streams that are not needed ('tiercut stream list')",
            )
        self._fits(settings)

    def _fits(self, settings: StreamSettings) -> Bundle:
        return fitting_model(settings, self._state.models, self._state.by_hand)
