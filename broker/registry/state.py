"""What the registry knows: its streams, and the nodes that read their sensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from broker.registry.actions import Action, Unplan
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import Assignment, SourceReport, StreamStatus

#: Streams that may be wanted, as each takes the hub's time.
MAX_WANTED = 1000


@dataclass(slots=True)
class Entry:
    """A stream of the registry.

    Attributes:
        name: Its name.
        payload: What was last wanted of it, as it came.
        settings: Its settings; ``None`` where they cannot be read.
        fixed: It is from the hub's settings.
        refusal: Why it does not run.
        bundle: Its model.
        node: Who reads its sensor.
        planned_for: The node it was last planned with.
        report: The last word of the node that reads its sensor.
        rival: The last word of another device that reads a sensor for a stream of this name.
        taken: What somebody wants by the name of a stream in the hub's settings, as it came.
        said: The last status.
        said_s: When that was.
        checked_s: When its settings were last checked.
    """

    name: str
    payload: bytes = b""
    settings: StreamSettings | None = None
    fixed: bool = False
    refusal: str = ""
    bundle: Bundle | None = None
    node: str | None = None
    planned_for: str | None = None
    report: SourceReport | None = None
    rival: SourceReport | None = None
    taken: bytes = b""
    said: StreamStatus | None = None
    said_s: float = float("-inf")
    checked_s: float = float("-inf")

    @property
    def runnable(self) -> StreamSettings | None:
        """Its settings, where it may run."""
        return None if self.refusal or self.bundle is None else self.settings

    def move(self, node: str) -> None:
        """Another node reads its sensor from now on."""
        if self.node != node:
            self.node, self.report, self.rival = node, None, None


@dataclass(slots=True)
class Reader:
    """A node of the device tier.

    Attributes:
        claims: It says that it can read any sensor that publishes on the bus.
        edge: There is an edge of that name, so it may: only an edge may publish an edge's status.
        online: Its last word.
        away_s: Since when it is gone.
        told: What it was last told to read; ``None`` where unknown.
    """

    claims: bool = False
    edge: bool = False
    online: bool = False
    away_s: float = float("-inf")
    told: tuple[Assignment, ...] | None = None

    @property
    def gateway(self) -> bool:
        """It is a gateway."""
        return self.claims and self.edge

    def is_away(self, now_s: float, after_s: float) -> bool:
        """Gone for longer than a brief outage."""
        return not self.online and now_s - self.away_s >= after_s


@dataclass(slots=True)
class State:
    """All that the registry remembers.

    Attributes:
        by_hand: Names of streams that have a plan by hand in the hub's settings.
        models: Bundles by name.
        plan_troubles: Stream → why it has no better plan.
        entries: Streams by name.
        readers: Nodes of the device tier by id.
        todo: What is to be done at the next tick.
        balanced_s: When a stream was last moved to balance the gateways.
    """

    by_hand: frozenset[str] = frozenset()
    models: Mapping[str, Bundle] = field(default_factory=dict)
    plan_troubles: Mapping[str, str] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)
    todo: list[Action] = field(default_factory=list)
    balanced_s: float = float("-inf")

    def copy(self) -> State:
        """An independent copy; all values in entries and readers are frozen."""
        return replace(
            self,
            entries={name: replace(entry) for name, entry in self.entries.items()},
            readers={node: replace(reader) for node, reader in self.readers.items()},
            todo=list(self.todo),
        )

    def reader(self, node: str) -> Reader:
        """What is known of a node, from now on at least its name."""
        return self.readers.setdefault(node, Reader())

    def refuse(self, entry: Entry, why: str) -> None:
        """A stream does not run, or not any more."""
        if not entry.refusal:
            self.todo.append(Unplan(entry.name))
        entry.refusal = why
        entry.bundle = entry.node = entry.planned_for = entry.report = None

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done while nothing is heard, but to publish counters from time to time."""
        return not self.todo and all(
            entry.said is not None and entry.said.state in {"running", "ended", "refused"}
            for entry in self.entries.values()
        )

    def is_gateway(self, node: str | None) -> bool:
        """Whether a node may be given any sensor that publishes on the bus."""
        return node in self.readers and self.readers[node].gateway

    def validate(self) -> None:
        """Check what must hold between any two events.

        Raises:
            AssertionError: something does not; says what.
        """
        broken = list(self._broken_entries())
        added = sum(not entry.fixed for entry in self.entries.values())
        if added > MAX_WANTED:
            broken.append(f"{added} streams were added, of at most {MAX_WANTED}")
        if broken:
            raise AssertionError("; ".join(broken))

    def _broken_entries(self) -> Iterator[str]:
        """What does not hold of each stream."""
        for name, entry in self.entries.items():
            settings, report, rival = entry.settings, entry.report, entry.rival
            sentences = {
                "its name is its key": entry.name == name and (settings is None or settings.name == name),
                "one that cannot be read is refused": settings is not None or bool(entry.refusal),
                "one that is refused has no model": not entry.refusal or entry.bundle is None,
                "only one with a model is planned": entry.bundle is not None or entry.planned_for is None,
                "one that is planned has a node": entry.planned_for is None or entry.node is not None,
                "the node that reads its sensor is known": (
                    entry.node is None or settings is None or not settings.sensor or entry.node in self.readers
                ),
                "its report is of the node that reads it": report is None or entry.node in (None, report.node),
                "its rival is another node": rival is None or rival.node != entry.node,
                "one of the hub's settings is not retained": not (entry.fixed and entry.payload),
                "its status is its own": entry.said is None or entry.said.stream == name,
            }
            yield from (f"stream '{name}': not true that {said}" for said, holds in sentences.items() if not holds)
