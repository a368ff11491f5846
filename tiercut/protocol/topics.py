"""Every topic, in one table: its pattern, the class of its messages, QoS, retain, who publishes, who listens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from types import UnionType

from tiercut.errors import refuse
from tiercut.names import NAME
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.explanations import Explanation
from tiercut.protocol.frames import Dropped, Work
from tiercut.protocol.nodes import (
    ClockProbe,
    EchoProbe,
    NodeStatus,
    PrepareSegment,
    Probe,
    Progress,
    Ready,
    StreamControl,
    StreamPlan,
)
from tiercut.protocol.results import Result
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import Assigned, SourceReport, StreamStatus

ROOT = "tiercut/v1"
#: Topics of one row whose streams are remembered; hostile topics must not fill the memory.
_REMEMBERED = 1024


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One row of the table.

    Attributes:
        name: What it is called in `docs/asyncapi.yaml`.
        pattern: Topic with ``{site}``, ``{tier}``, ``{node}``, ``{stream}`` in place of those names.
        message: The class of its messages, in JSON but for `Work`.
        note: A remark for its readers.
        qos: Quality of service of its messages.
        retain: The broker keeps the last message.
        event: Its messages have CloudEvents attributes as user properties.
        publisher: Who may publish.
        listeners: Who subscribes.
    """

    name: str = field(kw_only=False)
    pattern: str = field(kw_only=False)
    message: type | UnionType | None = field(kw_only=False)
    note: str = ""
    qos: int = 1
    retain: bool = False
    event: bool = False
    publisher: str
    listeners: str

    @property
    def for_people(self) -> bool:
        """Anyone may read it, or publish on it."""
        return self.from_people or "people" in self.listeners

    @property
    def from_people(self) -> bool:
        """People publish on it, and the site listens."""
        return self.publisher.startswith("people")

    def of(self, **names: str) -> str:
        """The topic for these names (all that the pattern has)."""
        return self.pattern.format_map(names)

    def filter(self, **names: str) -> str:
        """The topic filter for these names; ``+`` for those not given."""
        return re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], "+"), self.pattern)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{(\w+)\\\}", rf"(?P<\1>{NAME.pattern})", re.escape(self.pattern)))

    def parse(self, topic: str) -> dict[str, str] | None:
        """The names in a topic, ``None`` when it is not one of this row."""
        found = self._regex.fullmatch(topic)
        return found.groupdict() if found else None

    @cached_property
    def _streams(self) -> dict[str, str | None]:
        return {}

    def stream_of(self, topic: str) -> str | None:
        """The stream in a topic, ``None`` when it is not one of this row; remembered, for topics of many messages."""
        known = self._streams
        try:
            return known[topic]
        except KeyError:
            names = self.parse(topic)
            if len(known) >= _REMEMBERED:
                known.clear()
            stream = known[topic] = None if names is None else names["stream"]
            return stream

    def check(self, topic: str, **said: str) -> dict[str, str]:
        """The names in a topic; a broker lets nobody publish under another's, so a message must not contain others.

        Args:
            topic: Where a message came.
            said: Names in the message.

        Raises:
            BadEnvelope: it is not a topic of this row, or the message has another's name.
        """
        names = self.parse(topic)
        if names is None or any(names[name] != value for name, value in said.items()):
            raise refuse("wrong_topic", expected=f"a message of {topic}", came=said)
        return names


WORK = Topic(
    "work",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/work/{{stream}}",
    Work,
    note="an envelope, or a chunk of one",
    publisher="the node of the tier before",
    listeners="the node",
)
STATUS = Topic(
    "status",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/status",
    NodeStatus,
    note="the will is an offline status",
    retain=True,
    publisher="the node",
    listeners="hub, nodes of the site, people",
)
CLOCK = Topic(
    "clock",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/clock",
    ClockProbe,
    note="a question (with a response topic) or its answer",
    qos=0,
    publisher="nodes that receive frames from the node, and the node in answer",
    listeners="the node",
)
ECHO = Topic(
    "echo",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/echo",
    EchoProbe,
    note="it measures the link to the node, which answers on the response topic",
    qos=0,
    publisher="nodes that send frames to the node",
    listeners="the node",
)
RETURN = Topic(
    "return",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/return",
    Result | Dropped,
    note="the outcome of a frame: in the cloud, for the node that forwarded it from a site's bus; "
    "and of a stream whose device puts outcomes in order, for that device",
    event=True,
    publisher="cloud nodes; edges, to devices",
    listeners="the node, which publishes it again on its site's bus",
)
RELAY = Topic(
    "relay",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/relay/{{stream}}",
    Result | Dropped,
    note="the outcome of a frame that ends on a device that is not on the cloud's bus, of a stream with "
    "results_to = cloud; the user property 'delivery' is that of the stream",
    event=True,
    publisher="the stream's device",
    listeners="the node, an edge, which publishes it on the cloud's bus and then as any other outcome",
)
PROFILE = Topic(
    "profile",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/profile/{{model}}",
    None,
    note="how long each part of a model takes on the node: the JSON of a profile's file",
    retain=True,
    publisher="the node",
    listeners="hub",
)
PREPARE = Topic(
    "prepare",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/prepare",
    PrepareSegment,
    publisher="hub",
    listeners="the node",
)
PROBE = Topic(
    "probe",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/probe",
    Probe,
    note="asks for a measurement of a link that nothing has crossed for long",
    qos=0,
    publisher="hub",
    listeners="the node",
)
PROGRESS = Topic(
    "progress",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/progress",
    Progress,
    note="probes that have crossed, frames that have been in flight or on a thread for long",
    qos=0,
    publisher="the node",
    listeners="hub",
)
CONTROL = Topic(
    "control",
    f"{ROOT}/{{site}}/stream/{{stream}}/control",
    StreamControl,
    note="a plan by hand, a frozen one, or the coordinator's; empty: the coordinator's",
    retain=True,
    publisher="people, tiercut control",
    listeners="hub",
)
READY = Topic(
    "ready",
    f"{ROOT}/{{site}}/stream/{{stream}}/ready",
    Ready,
    publisher="the node that was asked, on the bus where it was asked",
    listeners="hub",
)
EXPLAIN = Topic(
    "explain",
    f"{ROOT}/{{site}}/stream/{{stream}}/explain",
    Explanation,
    note="why a stream has its plan, and what is known of its nodes and links",
    retain=True,
    publisher="hub",
    listeners="people, tiercut watch",
)
CAPACITY = Topic(
    "capacity",
    f"{ROOT}/{{site}}/capacity",
    SiteCapacity,
    note="what the site's streams get together, what edges or cloud nodes alone would give, and what is short",
    retain=True,
    publisher="hub",
    listeners="people, tiercut watch",
)
PLAN = Topic(
    "plan",
    f"{ROOT}/{{site}}/stream/{{stream}}/plan",
    StreamPlan,
    retain=True,
    publisher="hub",
    listeners="the stream's device, people",
)
RESULT = Topic(
    "result",
    f"{ROOT}/{{site}}/stream/{{stream}}/result",
    Result,
    event=True,
    note="with results_to = cloud also on the cloud's bus, where that is another",
    publisher="the node that finishes the frame on the site's bus",
    listeners="the stream's device (a place in its window is free again), edges that keep answers, people",
)
WANTED = Topic(
    "wanted",
    f"{ROOT}/{{site}}/stream/{{stream}}/wanted",
    StreamSettings,
    note="the registry has the stream's settings here, as in its TOML file; empty: it is removed",
    retain=True,
    publisher="people, tiercut stream, the hub's HTTP API",
    listeners="hub",
)
STREAM_STATUS = Topic(
    "streamStatus",
    f"{ROOT}/{{site}}/stream/{{stream}}/state",
    StreamStatus,
    note="whether it runs, where its sensor is read, and what is wrong",
    retain=True,
    publisher="hub",
    listeners="people, tiercut stream",
)
SOURCE = Topic(
    "source",
    f"{ROOT}/{{site}}/stream/{{stream}}/source",
    SourceReport,
    note="state of its sensor, and what was dropped before it was sent",
    retain=True,
    publisher="the node that reads the sensor",
    listeners="hub",
)
STREAMS = Topic(
    "streams",
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/streams",
    Assigned,
    note="settings of the streams whose sensors the node is to read",
    retain=True,
    publisher="hub",
    listeners="the node",
)
LAST = Topic(
    "last",
    f"{ROOT}/{{site}}/stream/{{stream}}/last",
    Result,
    note="the last result, for streams with retain_last",
    retain=True,
    event=True,
    publisher="hub",
    listeners="people",
)
DROPPED = Topic(
    "dropped",
    f"{ROOT}/{{site}}/stream/{{stream}}/dropped",
    Dropped,
    event=True,
    publisher="the node that drops the frame",
    listeners="the stream's device (a place in its window is free again), edges that keep answers, people",
)

#: All of them, those for people first.
TOPICS = tuple(
    sorted(
        (each for each in tuple(globals().values()) if isinstance(each, Topic)), key=lambda each: not each.for_people
    )
)
