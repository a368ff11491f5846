"""The registry of a site's streams: which are wanted, whether they fit, who reads their sensors, and how they do.

A state machine like the coordinator: what was heard goes in, what is to be done comes out of `Registry.tick`. Nothing
is kept on disk: what is wanted is retained on the bus (topic ``wanted``) or stands in the hub's settings, and who reads
what is retained for the nodes (topic ``streams``), so a hub that starts again changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from msgspec import structs

from broker.coordination.goals import goal_of
from broker.registry.entries import Action, Assign, Entry, PlanStream, Reader, Remove, SayStatus, Unplan
from broker.registry.placement import Placing
from broker.registry.status import headline, same_but_times, status_of, taken
from tiercut.declared import iso_time
from tiercut.errors import SettingsError, TiercutError
from tiercut.model.bundle import Bundle
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.stream_settings import MQTT, StreamSettings
from tiercut.protocol.streams import Assignment, SourceReport, decode_wanted
from tiercut.security.identity_list import check_sensor_topic
from tiercut.sensors.contract import check_stream

log = logging.getLogger(__name__)

#: Streams that may be wanted, as each takes the hub's time.
MAX_STREAMS = 1000
#: Counters in a status are as old as this at most; states are said at once.
COUNTERS_S = 2.0
#: How often what did not fit is looked at again, and whether a model has a new version.
RECHECK_S = 2.0


@dataclass(slots=True)
class Registry:
    """The streams of one site.

    Attributes:
        model: The bundle of a name, ``None`` where there is none; cheap.
        by_hand: Names of streams that have a plan by hand in the hub's settings.
        plan_trouble: Why a stream has no better plan.
        entries: Streams by name.
        readers: Nodes of the device tier by id.
    """

    model: Callable[[str], Bundle | None]
    by_hand: frozenset[str] = frozenset()
    plan_trouble: Callable[[str], str | None] = lambda _: None
    entries: dict[str, Entry] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)
    _todo: list[Action] = field(default_factory=list)
    _placing: Placing = field(init=False)

    def __post_init__(self) -> None:
        self._placing = Placing(self.readers)

    # ------------------------------------------------------------------ events

    def fixed(self, settings: StreamSettings) -> None:
        """A stream of the hub's own settings.

        Raises:
            TiercutError: it does not fit its model, or has none.
        """
        self.entries[settings.name] = Entry(settings.name, settings=settings, fixed=True, bundle=self._fits(settings))

    def wanted_heard(self, name: str, payload: bytes) -> None:
        """What is retained of a stream: its settings, or nothing any more. The same once more changes nothing."""
        known = self.entries.get(name)
        if known is not None and known.fixed:
            known.taken = bool(payload)
        elif not payload:
            if self.entries.pop(name, None) is not None:
                self._todo.append(Remove(name))
        elif known is None or known.payload != payload:
            entry = Entry(name) if known is None else known
            if known is None and len(self.entries) >= MAX_STREAMS:
                log.error("too many streams", extra={"stream": name, "most": MAX_STREAMS})
                return
            entry.payload, entry.refusal, entry.checked_s = payload, "", float("-inf")
            entry.bundle = entry.planned_for = entry.report = entry.rival = None
            try:
                entry.settings = decode_wanted(payload, name)
            except TiercutError as error:
                entry.settings = None
                self._refuse(entry, str(error))
            self.entries[name] = entry

    def status_heard(self, status: NodeStatus, now_s: float) -> None:
        """The presence of a node of the device tier."""
        reader = self.readers.setdefault(status.node, Reader())
        online = status.state == "online"
        if reader.online and not online:
            reader.away_s = now_s
        reader.online = online
        reader.claims = status.gateway if online else reader.claims

    def edge_heard(self, node: str) -> None:
        """There is an edge of this name: its gateway may read sensors."""
        self.readers.setdefault(node, Reader()).edge = True

    def report_heard(self, report: SourceReport) -> None:
        """How a sensor does, by the node that reads it."""
        entry = self.entries.get(report.stream)
        if entry is None:
            return
        if entry.node is None or report.node == entry.node:
            entry.report = report
        elif report.state == "running" and not self._is_gateway(report.node):
            entry.rival = report

    def assigned_heard(self, node: str, assigned: Iterable[Assignment]) -> None:
        """What a node was told before this hub started: it stays with it."""
        told = tuple(assigned)
        self.readers.setdefault(node, Reader()).told = told
        for each in told:
            entry = self.entries.get(each.settings.name)
            if entry is not None and entry.settings is not None and entry.settings.from_bus and entry.node is None:
                entry.node = node

    # ------------------------------------------------------------------ what is to be done

    def tick(self, now_s: float, unix_s: float) -> list[Action]:
        """Look at all streams; call it a few times a second."""
        for entry in self.entries.values():
            self._look_at(entry, now_s)
        self._placing.give_out(self.entries.values(), now_s)
        actions = [*self._assign(), *self._todo]
        self._todo.clear()
        for entry in self.entries.values():
            actions += [*self._plan(entry), *self._say(entry, now_s, unix_s)]
        return actions

    def streams(self) -> list[tuple[StreamSettings, str | None]]:
        """Those that may run, with the node that reads their sensor: what access is granted for."""
        return [(entry.settings, entry.node) for entry in self.entries.values() if entry.settings and entry.runnable]

    def check(self, settings: StreamSettings) -> None:
        """Whether a stream could be added.

        Raises:
            TiercutError: says why not.
        """
        known = self.entries.get(settings.name)
        if known is not None and known.fixed:
            raise taken(settings.name)
        if known is None and len(self.entries) >= MAX_STREAMS:
            raise SettingsError(
                "the registry is full",
                expected=f"at most {MAX_STREAMS} streams",
                came="one more",
                fix="remove streams that are not needed ('tiercut stream list')",
            )
        self._fits(settings)

    # ------------------------------------------------------------------ inside

    def _look_at(self, entry: Entry, now_s: float) -> None:
        """Find out whether a stream fits; again while it does not, and when its model has another version."""
        settings = entry.settings
        if settings is None or now_s - entry.checked_s < RECHECK_S:
            return
        entry.checked_s = now_s
        if entry.bundle is not None and self._newest(settings) in (None, entry.bundle.model):
            return
        try:
            entry.bundle, entry.planned_for, entry.refusal = self._fits(settings), None, ""
        except TiercutError as error:
            self._refuse(entry, str(error))
        except Exception as error:  # a fault in one stream's settings must not end the hub for all the others
            if not entry.refusal:
                log.exception("stream not looked at", extra={"stream": entry.name})
            self._refuse(entry, f"a fault in the hub: {type(error).__name__}: {error}")

    def _newest(self, settings: StreamSettings) -> str | None:
        bundle = self.model(settings.model)
        return None if bundle is None else bundle.model

    def _refuse(self, entry: Entry, why: str) -> None:
        """It does not run, or not any more."""
        if not entry.refusal:
            self._todo.append(Unplan(entry.name))
        entry.refusal = why
        entry.bundle = entry.node = entry.planned_for = entry.report = None

    def _fits(self, settings: StreamSettings) -> Bundle:
        """The model of a stream that fits it."""
        name = settings.name
        if name in self.by_hand:
            raise taken(name)
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

    def _is_gateway(self, node: str) -> bool:
        return node in self.readers and self.readers[node].gateway

    def _assign(self) -> list[Action]:
        """Tell each node what to read, where that has changed."""
        wanted: dict[str, list[Assignment]] = {}
        for entry in self.entries.values():
            settings, bundle = entry.runnable, entry.bundle
            if settings is not None and settings.sensor and entry.node is not None and bundle is not None:
                wanted.setdefault(entry.node, []).append(Assignment(settings, bundle.model))
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
        settings, bundle = entry.runnable, entry.bundle
        if settings is None or bundle is None or entry.node is None or entry.planned_for == entry.node:
            return []
        report = entry.report
        if settings.sensor and (
            report is None or report.state in ("waiting", "failed") or report.model != bundle.model
        ):
            return []
        entry.planned_for = entry.node
        goal = goal_of(replace(settings, device=entry.node), bundle)
        return [PlanStream(replace(goal, moves=not settings.device))]

    def _say(self, entry: Entry, now_s: float, unix_s: float) -> list[Action]:
        said, status = entry.said, status_of(entry, self.readers, self.plan_trouble(entry.name), unix_s)
        at_once = said is None or headline(said) != headline(status)
        since = iso_time(unix_s) if said is None or said.state != status.state else said.since
        if same_but_times(said, status) or (not at_once and now_s - entry.said_s < COUNTERS_S):
            return []
        entry.said, entry.said_s = structs.replace(status, since=since), now_s
        return [SayStatus(entry.said)]


def _is_open(report: SourceReport | None, bundle: Bundle) -> bool:
    """Whether a sensor is open, for this model."""
    return report is not None and report.model == bundle.model and report.state in ("running", "silent", "ended")
