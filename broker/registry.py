"""The registry of a site's streams: which are wanted, whether they fit, who reads their sensors, and how they do.

A state machine like the coordinator: what was heard goes in, what is to be done comes out of `Registry.tick`. Nothing
is kept on disk: what is wanted is retained on the bus (topic ``wanted``) or stands in the hub's settings, and who reads
what is retained for the nodes (topic ``streams``), so a hub that starts again changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from broker.goals import goal_of
from iot_node.source import check_stream
from tiercut.bundle import Bundle
from tiercut.coordinator.goal import StreamGoal
from tiercut.errors import SettingsError, TiercutError
from tiercut.identities import check_sensor_topic
from tiercut.stream_settings import MQTT, StreamSettings
from tiercut.stream_talk import Assignment, SourceReport, StreamState, StreamStatus, Trouble, decode_wanted
from tiercut.talk import NodeStatus

#: A gateway may be away for so long before its streams are given to others.
AWAY_S = 2.0
#: Gateways are balanced so often: one stream at a time, when one has two more than another.
BALANCE_S = 5.0
#: Counters in a status are as old as this at most; states are said at once.
COUNTERS_S = 2.0
#: How often what did not fit is looked at again: its model may have come.
RECHECK_S = 2.0


@dataclass(frozen=True, slots=True)
class Assign:
    """A node is to read the sensors of these streams, and of no others."""

    node: str
    streams: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class SayStatus:
    """Publish how a stream does."""

    status: StreamStatus


@dataclass(frozen=True, slots=True)
class PlanStream:
    """The coordinator is to plan a stream, or to plan it anew as another node reads its sensor."""

    goal: StreamGoal


@dataclass(frozen=True, slots=True)
class Remove:
    """A stream is there no more: it is not planned, and nothing stays retained of it."""

    stream: str


Action = Assign | SayStatus | PlanStream | Remove


@dataclass(slots=True)
class Entry:
    """A stream of the registry.

    Attributes:
        name: Its name.
        settings: Its settings; ``None`` where they cannot be read.
        fixed: It stands in the hub's settings.
        refusal: Why it does not run.
        bundle: Its model.
        node: Who reads its sensor.
        planned_for: The node it was last planned with.
        report: The last word of the node that reads its sensor.
        rival: Another node that reads a sensor for a stream of this name.
        taken: Somebody wants another stream by the name of one in the hub's settings.
        said: The last status.
        said_s: When that was.
        checked_s: When its settings were last checked.
    """

    name: str
    settings: StreamSettings | None = None
    fixed: bool = False
    refusal: str = ""
    bundle: Bundle | None = None
    node: str | None = None
    planned_for: str | None = None
    report: SourceReport | None = None
    rival: str | None = None
    taken: bool = False
    said: StreamStatus | None = None
    said_s: float = float("-inf")
    checked_s: float = float("-inf")


@dataclass(slots=True)
class Reader:
    """A node of the device tier.

    Attributes:
        gateway: It can read any sensor that publishes on the bus.
        online: Its last word.
        away_s: Since when it is gone.
        told: What it was last told to read.
    """

    gateway: bool = False
    online: bool = False
    away_s: float = float("-inf")
    told: tuple[Assignment, ...] | None = None


@dataclass(slots=True)
class Registry:
    """The streams of one site.

    Attributes:
        model: The bundle of a name, ``None`` where there is none.
        by_hand: Names of streams that have a plan by hand in the hub's settings.
        entries: Streams by name.
        readers: Nodes of the device tier by id.
    """

    model: Callable[[str], Bundle | None]
    by_hand: frozenset[str] = frozenset()
    entries: dict[str, Entry] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)
    _removed: list[str] = field(default_factory=list)
    _balanced_s: float = float("-inf")

    # ------------------------------------------------------------------ events

    def fixed(self, settings: StreamSettings) -> None:
        """A stream of the hub's own settings.

        Raises:
            TiercutError: it does not fit its model, or has none.
        """
        entry = Entry(settings.name, settings, fixed=True)
        entry.bundle = self._fits(settings)
        self.entries[settings.name] = entry

    def wanted_heard(self, name: str, payload: bytes) -> None:
        """What is retained of a stream: its settings, or nothing any more."""
        known = self.entries.get(name)
        if known is not None and known.fixed:
            known.taken = bool(payload)
        elif not payload:
            if self.entries.pop(name, None) is not None:
                self._removed.append(name)
        else:
            entry = Entry(name) if known is None else known
            entry.checked_s = float("-inf")
            entry.planned_for = None
            entry.refusal = ""
            try:
                entry.settings = decode_wanted(payload, name)
            except TiercutError as error:
                entry.settings, entry.refusal = None, str(error)
            self.entries[name] = entry

    def status_heard(self, status: NodeStatus, now_s: float) -> None:
        """The presence of a node of the device tier."""
        reader = self.readers.setdefault(status.node, Reader())
        online = status.state == "online"
        if reader.online and not online:
            reader.away_s = now_s
        reader.online = online
        reader.gateway = status.gateway if online else reader.gateway

    def report_heard(self, report: SourceReport) -> None:
        """How a sensor does, by the node that reads it."""
        entry = self.entries.get(report.stream)
        if entry is None:
            return
        if entry.node is None or report.node == entry.node:
            entry.report = report
        elif report.state == "running" and not self._is_gateway(report.node):
            entry.rival = report.node

    def assigned_heard(self, node: str, assigned: Iterable[Assignment]) -> None:
        """What a node was told before this hub started: it stays with it."""
        told = tuple(assigned)
        self.readers.setdefault(node, Reader()).told = told
        for each in told:
            entry = self.entries.get(each.settings.name)
            if entry is not None and entry.settings is not None and entry.settings.from_bus and entry.node is None:
                entry.node = node

    def forgotten(self) -> None:
        """Nothing that was said is retained any more."""
        for reader in self.readers.values():
            reader.told = None
        for entry in self.entries.values():
            entry.said = None

    # ------------------------------------------------------------------ what is to be done

    def tick(self, now_s: float, unix_s: float) -> list[Action]:
        """Look at all streams; call it a few times a second."""
        actions: list[Action] = [Remove(name) for name in self._removed]
        self._removed.clear()
        for entry in self.entries.values():
            self._check(entry, now_s)
        self._give_out(now_s)
        actions += self._assign()
        for entry in self.entries.values():
            actions += self._plan(entry)
            actions += self._say(entry, now_s, unix_s)
        return actions

    def streams(self) -> list[tuple[StreamSettings, str | None]]:
        """Those that may run, with the node that reads their sensor: what access is granted for."""
        return [
            (entry.settings, entry.node)
            for entry in self.entries.values()
            if entry.settings is not None and not entry.refusal
        ]

    def check(self, settings: StreamSettings) -> None:
        """Whether a stream could be added.

        Raises:
            TiercutError: says why not.
        """
        known = self.entries.get(settings.name)
        if settings.name in self.by_hand or (known is not None and known.fixed):
            raise _taken(settings.name)
        self._fits(settings)

    # ------------------------------------------------------------------ inside

    def _check(self, entry: Entry, now_s: float) -> None:
        """Find out whether a stream fits, again and again while it does not."""
        due = entry.checked_s == float("-inf") or (entry.refusal and now_s - entry.checked_s >= RECHECK_S)
        if entry.settings is None or entry.fixed or not due:
            return
        entry.checked_s = now_s
        try:
            if entry.name in self.by_hand:
                raise _taken(entry.name)
            entry.bundle = self._fits(entry.settings)
            entry.refusal = ""
        except TiercutError as error:
            entry.refusal = str(error)
            entry.node = entry.planned_for = entry.report = None

    def _fits(self, settings: StreamSettings) -> Bundle:
        """The model of a stream that fits it."""
        name = settings.name
        if not settings.device and not settings.from_bus:
            raise SettingsError(
                f"nobody reads the sensor of stream '{name}'",
                expected='a device, or sensor = "mqtt" for one that publishes by itself',
                came=f"sensor '{settings.sensor}' and no device",
                fix='add device = "NODE"',
            )
        for part in settings.parts:
            if part.sensor == MQTT and part.topic:
                check_sensor_topic(part.topic)
        bundle = self.model(settings.model)
        if bundle is None:
            raise SettingsError(
                f"the stream '{name}' has no model",
                expected="a bundle that the hub has",
                came=f"'{settings.model}'",
                fix="put it in the hub's bundles folder, or correct the name",
            )
        if settings.sensor:
            check_stream(settings, bundle, here=False)
        goal_of(replace(settings, device=settings.device or "gateway"), bundle)
        return bundle

    def _give_out(self, now_s: float) -> None:
        """Who reads which sensor: a named device, or a gateway that is there."""
        runnable = [each for each in self.entries.values() if each.settings is not None and not each.refusal]
        there = {name for name, reader in self.readers.items() if reader.gateway and reader.online}
        load: Counter[str] = Counter(dict.fromkeys(there, 0))
        load.update(each.node for each in runnable if each.node in there)
        for entry in runnable:
            assert entry.settings is not None  # noqa: S101 - just filtered
            if entry.settings.device:
                self._move(entry, entry.settings.device)
            elif there and (entry.node is None or self._is_away(entry.node, now_s)):
                least = min(there, key=lambda name: (load[name], name))
                self._move(entry, least)
                load[least] += 1
        self._balance(runnable, load, now_s)

    def _balance(self, runnable: list[Entry], load: Counter[str], now_s: float) -> None:
        if len(load) < 2 or now_s - self._balanced_s < BALANCE_S:  # noqa: PLR2004 - nothing to balance
            return
        most, least = max(load, key=lambda n: (load[n], n)), min(load, key=lambda n: (load[n], n))
        if load[most] - load[least] > 1:
            self._balanced_s = now_s
            moved = next(each for each in runnable if each.node == most and each.settings and not each.settings.device)
            self._move(moved, least)

    def _move(self, entry: Entry, node: str) -> None:
        if entry.node != node:
            entry.node, entry.report, entry.rival = node, None, None

    def _is_away(self, node: str, now_s: float) -> bool:
        reader = self.readers.get(node)
        return reader is None or (not reader.online and now_s - reader.away_s >= AWAY_S)

    def _is_gateway(self, node: str) -> bool:
        reader = self.readers.get(node)
        return reader is not None and reader.gateway

    def _assign(self) -> list[Action]:
        """Tell each node what to read, where that has changed."""
        wanted: dict[str, list[Assignment]] = {}
        for entry in self.entries.values():
            if entry.settings is not None and entry.settings.sensor and entry.node is not None and entry.bundle:
                wanted.setdefault(entry.node, []).append(Assignment(entry.settings, entry.bundle.model))
        actions: list[Action] = []
        for node in sorted(wanted.keys() | self.readers.keys()):
            reader = self.readers.setdefault(node, Reader())
            streams = tuple(wanted.get(node, ()))
            if streams != (reader.told or ()):
                actions.append(Assign(node, streams))
            reader.told = streams
        return actions

    def _plan(self, entry: Entry) -> list[Action]:
        """A stream is planned when its sensor is open."""
        settings, bundle = entry.settings, entry.bundle
        if settings is None or bundle is None or entry.node is None or entry.planned_for == entry.node or entry.refusal:
            return []
        if settings.sensor and (entry.report is None or entry.report.state in ("waiting", "failed")):
            return []
        entry.planned_for = entry.node
        return [PlanStream(goal_of(replace(settings, device=entry.node), bundle))]

    def _say(self, entry: Entry, now_s: float, unix_s: float) -> list[Action]:
        said, status = entry.said, self._status(entry)
        same = said is not None and _headline(said) == _headline(status)
        since = said.since_unix_s if said is not None and same else unix_s
        status = replace(status, since_unix_s=since)
        if status == said or (same and now_s - entry.said_s < COUNTERS_S):
            return []
        entry.said, entry.said_s = status, now_s
        return [SayStatus(status)]

    def _status(self, entry: Entry) -> StreamStatus:
        state, message = self._state(entry)
        settings, report = entry.settings, entry.report
        trouble = list(report.trouble if report is not None else ())
        if entry.taken:
            trouble.append(Trouble("name_taken", str(_taken(entry.name)), 1, 0.0))
        if entry.rival is not None:
            said = f"'{entry.rival}' reads a sensor for a stream of this name too; give one of them another name"
            trouble.append(Trouble("two_streams", said, 1, 0.0))
        return StreamStatus(
            stream=entry.name,
            state=state,
            message=message,
            model=settings.model if settings is not None else "",
            sensor=settings.sensor if settings is not None else "",
            device=entry.node,
            gateway=entry.node is not None and self._is_gateway(entry.node),
            frames=report.frames if report is not None else {},
            trouble=tuple(trouble),
        )

    def _state(self, entry: Entry) -> tuple[StreamState, str]:
        """In which state a stream is, and why."""
        if entry.refusal or entry.settings is None:
            return "refused", entry.refusal
        if entry.node is None:
            return "waiting", "no edge is there to read the sensor; start one"
        reader = self.readers.get(entry.node)
        if reader is None or not reader.online:
            return "waiting", f"'{entry.node}' is not online; start it"
        if not entry.settings.sensor:
            return "running", ""
        report = entry.report
        if report is None:
            return "waiting", f"'{entry.node}' has not opened the sensor yet"
        said: Mapping[str, tuple[StreamState, str]] = {
            "waiting": ("waiting", report.message),
            "silent": ("waiting", "the sensor has given nothing yet"),
            "failed": ("failed", report.message),
            "ended": ("ended", "the sensor has come to its end"),
            "running": ("running", ""),
        }
        return said[report.state]


def _headline(status: StreamStatus) -> tuple[str, str, str | None]:
    """What is said at once when it changes."""
    return status.state, status.message, status.device


def _taken(name: str) -> SettingsError:
    return SettingsError(
        f"there are two streams '{name}'",
        expected="a name of its own for each stream",
        came="one that stands in the hub's settings",
        fix="choose another name, or remove it from the settings",
    )
