"""Every topic, in one table: pattern, message, QoS, retain, who publishes, who listens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from tiercut.errors import refuse
from tiercut.names import NAME

ROOT = "tiercut/v1"


@dataclass(frozen=True)
class Topic:
    """One row of the table.

    Attributes:
        pattern: Topic with ``{site}``, ``{tier}``, ``{node}``, ``{stream}`` where those names stand.
        message: What is on it.
        qos: Quality of service of its messages.
        retain: The broker keeps the last message.
        publisher: Who may publish.
        listeners: Who subscribes.
    """

    pattern: str
    message: str
    qos: int
    retain: bool
    publisher: str
    listeners: str

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
        """The names in a topic, ``None`` when it is none of this row."""
        found = self._regex.fullmatch(topic)
        return found.groupdict() if found else None

    def check(self, topic: str, **said: str) -> dict[str, str]:
        """The names in a topic; a broker lets nobody publish under another's, so a message must not say others.

        Args:
            topic: Where a message came.
            said: Names that the message says.

        Raises:
            BadEnvelope: it is none of this row, or the message speaks for somebody else.
        """
        names = self.parse(topic)
        if names is None or any(names[name] != value for name, value in said.items()):
            raise refuse("wrong_topic", expected=f"a message of {topic}", came=said)
        return names


WORK = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/work/{{stream}}",
    "Work: an envelope, or a chunk of one",
    qos=1,
    retain=False,
    publisher="the node of the tier before",
    listeners="the node",
)
STATUS = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/status",
    "NodeStatus, JSON; the will says offline",
    qos=1,
    retain=True,
    publisher="the node",
    listeners="hub, nodes of the site, people",
)
CLOCK = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/clock",
    "ClockProbe, JSON: a question (with a response topic) or its answer",
    qos=0,
    retain=False,
    publisher="nodes that receive frames from the node, and the node in answer",
    listeners="the node",
)
ECHO = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/echo",
    "ClockProbe, JSON, of any size: it measures the link to the node, which answers on the response topic",
    qos=0,
    retain=False,
    publisher="nodes that send frames to the node",
    listeners="the node",
)
RETURN = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/return",
    "what the cloud made of a frame: the JSON of RESULT or DROPPED, for the node that forwarded it from a site's bus",
    qos=1,
    retain=False,
    publisher="cloud nodes",
    listeners="the node, which publishes it again on its site's bus",
)
PROFILE = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/profile/{{model}}",
    "Profile, JSON of the form tiercut-profile/1",
    qos=1,
    retain=True,
    publisher="the node",
    listeners="hub",
)
PREPARE = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/prepare",
    "PrepareSegment, JSON",
    qos=1,
    retain=False,
    publisher="hub",
    listeners="the node",
)
PROBE = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/probe",
    "Probe, JSON: a link that nothing has crossed for long is to be measured",
    qos=0,
    retain=False,
    publisher="hub",
    listeners="the node",
)
PROGRESS = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/progress",
    "Progress, JSON: probes that have crossed, frames that are under way or on a thread for long",
    qos=0,
    retain=False,
    publisher="the node",
    listeners="hub",
)
CONTROL = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/control",
    "StreamControl, JSON: a plan by hand, a frozen one, or the coordinator's",
    qos=1,
    retain=True,
    publisher="people, tiercut control",
    listeners="hub",
)
READY = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/ready",
    "Ready, JSON",
    qos=1,
    retain=False,
    publisher="the node that was asked, on the bus where it was asked",
    listeners="hub",
)
EXPLAIN = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/explain",
    "why a stream has its plan, and what is known of its nodes and links, JSON",
    qos=1,
    retain=True,
    publisher="hub",
    listeners="people, tiercut watch",
)
PLAN = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/plan",
    "StreamPlan, JSON",
    qos=1,
    retain=True,
    publisher="hub",
    listeners="the stream's device, people",
)
RESULT = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/result",
    "Result, JSON with CloudEvents attributes as user properties",
    qos=1,
    retain=False,
    publisher="whoever finishes the frame on the site's bus",
    listeners="the stream's device (a place on the way is free again), edges that keep answers, people",
)
WANTED = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/wanted",
    "the registry: a stream's settings as JSON, the same as in its TOML file; empty: it is removed",
    qos=1,
    retain=True,
    publisher="people, tiercut stream, the hub's HTTP API",
    listeners="hub",
)
STREAM_STATUS = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/state",
    "StreamStatus, JSON: whether it runs, where its sensor is read, what is wrong",
    qos=1,
    retain=True,
    publisher="hub",
    listeners="people, tiercut stream",
)
SOURCE = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/source",
    "SourceReport, JSON: how its sensor does, what was dropped before it set out",
    qos=1,
    retain=True,
    publisher="the node that reads the sensor",
    listeners="hub",
)
STREAMS = Topic(
    f"{ROOT}/{{site}}/{{tier}}/{{node}}/streams",
    "Assigned, JSON: settings of the streams whose sensors the node is to read",
    qos=1,
    retain=True,
    publisher="hub",
    listeners="the node",
)
LAST = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/last",
    "the last result, for streams with retain_last",
    qos=1,
    retain=True,
    publisher="hub",
    listeners="people",
)
DROPPED = Topic(
    f"{ROOT}/{{site}}/stream/{{stream}}/dropped",
    "Dropped, JSON with CloudEvents attributes as user properties",
    qos=1,
    retain=False,
    publisher="whoever drops the frame",
    listeners="the stream's device (a place on the way is free again), edges that keep answers, people",
)

TOPICS = (
    WORK,
    STATUS,
    CLOCK,
    ECHO,
    RETURN,
    PROFILE,
    PREPARE,
    PROBE,
    PROGRESS,
    READY,
    EXPLAIN,
    PLAN,
    CONTROL,
    RESULT,
    DROPPED,
    LAST,
    WANTED,
    STREAM_STATUS,
    SOURCE,
    STREAMS,
)
