"""Access rules for Mosquitto: each identity may do what its role needs, and nothing else.

The rules of a site's bus change with its streams: the hub writes them (`write_acl`). Those of the cloud's bus change
with the identities alone. Mosquitto grants every subscription, and delivers what the rules allow to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tiercut.errors import SettingsError
from tiercut.files import write_whole
from tiercut.protocol.stream_settings import MQTT, StreamSettings
from tiercut.protocol.topics import (
    CAPACITY,
    CLOCK,
    CONTROL,
    DROPPED,
    ECHO,
    EXPLAIN,
    LAST,
    PLAN,
    PREPARE,
    PROBE,
    PROFILE,
    PROGRESS,
    READY,
    RELAY,
    RESULT,
    RETURN,
    SOURCE,
    STATUS,
    STREAM_STATUS,
    STREAMS,
    WANTED,
    WORK,
    Topic,
)
from tiercut.security.identity_list import IdentityName, Listed, Role, check_sensor_topic

#: Where Home Assistant looks for entities by default.
HA_PREFIX = "homeassistant"
#: What a broker's own certificate may read: it shows that the broker answers.
UPTIME = "$SYS/broker/uptime"

_HEAD = "# Written by tiercut: changes made here are lost.\n"


class _Rules:
    """The rules of one identity."""

    def __init__(self, identity: IdentityName) -> None:
        self.identity = identity
        self._lines: dict[str, None] = {}

    def read(self, *topics: Topic | str, **names: str) -> None:
        self._add("read", topics, names)

    def write(self, *topics: Topic | str, **names: str) -> None:
        self._add("write", topics, names)

    def _add(self, access: str, topics: Iterable[Topic | str], names: dict[str, str]) -> None:
        for topic in topics:
            text = topic if isinstance(topic, str) else topic.filter(**names)
            self._lines[f"topic {access} {text}"] = None

    @property
    def text(self) -> str:
        return "\n".join([f"user {self.identity}", *self._lines]) + "\n"


def acl(
    site: str,
    identities: Iterable[Listed],
    streams: Iterable[StreamSettings],
    *,
    cloud_here: bool = False,
    cloud_site: str = "cloud",
    home_assistant: str = HA_PREFIX,
) -> str:
    """The rules of a site's bus.

    Args:
        site: The site.
        identities: All that there are; those of other sites get nothing.
        streams: The site's streams, as they were wanted: a device that calls itself a gateway gets no right by it.
        cloud_here: There is one broker for all: cloud nodes are on this bus too.
        cloud_site: The site of cloud nodes; by the role alone nobody is one.
        home_assistant: First levels of the topics where Home Assistant looks for entities.

    Raises:
        SettingsError: those levels are not Home Assistant's alone.
    """
    _check_prefix(home_assistant)
    known = list(streams)
    text = [_HEAD]
    for listed in sorted(identities, key=lambda each: each.identity):
        identity, rules = listed.identity, _Rules(listed.identity)
        if identity.role == "cloud":
            if not cloud_here or identity.site != cloud_site:
                continue
            _cloud(rules)
            rules.write(RESULT, DROPPED, site=site)
        elif identity.site == site:
            _SITE[identity.role](rules, listed, known)
            _home_assistant(rules, home_assistant)
            if cloud_here:
                _reach_cloud(rules, known)
        else:
            continue
        text.append(rules.text)
    return "\n".join(text)


def cloud_acl(identities: Iterable[Listed], *, site: str = "cloud") -> str:
    """The rules of the cloud's bus, which sites share.

    Args:
        identities: All that there are, of all sites.
        site: The site of cloud nodes and of this bus.
    """
    text = [_HEAD]
    for listed in sorted(identities, key=lambda each: each.identity):
        identity, rules = listed.identity, _Rules(listed.identity)
        if identity.role == "cloud" and identity.site == site:
            _cloud(rules)
            rules.write(RESULT, DROPPED)
        elif identity.role in {"edge", "hub", "operator", "reader"}:
            _reach_cloud(rules, ())
            if identity.role == "edge":
                rules.write(RESULT, DROPPED, site=identity.site)
            elif identity.role != "hub":
                rules.read(RESULT, DROPPED, site=identity.site)
        elif identity.role == "bus" and identity.site == site:
            rules.read(UPTIME)
        else:
            continue
        text.append(rules.text)
    return "\n".join(text)


def write_acl(path: Path, text: str) -> bool:
    """Write rules where they have changed; the broker is to be told (``deploy/mosquitto/run.sh`` does).

    Returns:
        Whether they have.

    Raises:
        SettingsError: the file cannot be written.
    """
    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    write_whole(path, data, what="the access rules ", mode=0o640)
    return True


# ---------------------------------------------------------------------- on a site's bus


def _device(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    site, name = listed.identity.site, listed.identity.name
    _node(rules, site=site, tier="device", node=name)
    rules.read(STREAMS, site=site, tier="device", node=name)
    rules.read(RETURN, site=site, tier="device", node=name)
    rules.write(ECHO, site=site, tier="edge")
    for stream in streams:
        if stream.device == name:
            of = {"site": site, "stream": stream.name}
            rules.read(PLAN, RESULT, DROPPED, **of)
            rules.write(RESULT, DROPPED, READY, SOURCE, **of)
            rules.write(WORK, RELAY, tier="edge", **of)
            rules.read(*_sensor_topics(stream))


def _edge(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    """As an edge, and as the gateway: the device of the same name in it, which may be given any stream from the bus."""
    site, name = listed.identity.site, listed.identity.name
    _node(rules, site=site, tier="edge", node=name)
    rules.read(WORK, RELAY, site=site, tier="edge", node=name)
    _node(rules, site=site, tier="device", node=name)
    rules.read(STREAMS, site=site, tier="device", node=name)
    rules.read(PLAN, RESULT, DROPPED, site=site)
    rules.write(RESULT, DROPPED, READY, SOURCE, site=site)
    rules.write(WORK, RELAY, ECHO, site=site, tier="edge")
    rules.read(RETURN, site=site, tier="device", node=name)
    rules.write(RETURN, site=site, tier="device")
    for stream in streams:
        if stream.from_bus or stream.device in {"", name}:  # it may be given to any edge, and moves without new rules
            rules.read(*_sensor_topics(stream))


def _node(rules: _Rules, **names: str) -> None:
    """What nodes of all tiers do on their bus."""
    site = names["site"]
    rules.write(STATUS, PROFILE, PROGRESS, **names)
    rules.read(PREPARE, PROBE, CLOCK, ECHO, **names)
    _read_statuses(rules, site)
    rules.write(CLOCK, site=site)


def _read_statuses(rules: _Rules, site: str) -> None:
    """Of nodes: a filter for any tier would be one for the statuses of streams as well."""
    for tier in ("device", "edge", "cloud", "hub"):
        rules.read(STATUS, site=site, tier=tier)


def _hub(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    del streams
    site, name = listed.identity.site, listed.identity.name
    rules.write(STATUS, site=site, tier="hub", node=name)
    _read_statuses(rules, site)
    rules.read(PROFILE, PROGRESS, site=site)
    rules.write(PREPARE, PROBE, STREAMS, SOURCE, CONTROL, site=site)
    rules.read(CONTROL, READY, RESULT, DROPPED, SOURCE, site=site)
    rules.read(STREAMS, site=site, tier="device")
    for topic in (PLAN, EXPLAIN, CAPACITY, WANTED, STREAM_STATUS, LAST):
        rules.read(topic, site=site)
        rules.write(topic, site=site)


def _home_assistant(rules: _Rules, prefix: str) -> None:
    """The hub announces; Home Assistant is a reader, or an operator, that says on ``status`` that it has started."""
    if rules.identity.role in {"hub", "reader", "operator"}:
        rules.read(f"{prefix}/#")
        rules.write(f"{prefix}/#" if rules.identity.role == "hub" else f"{prefix}/status")


def _operator(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    _reader(rules, listed, streams)
    site, name = listed.identity.site, listed.identity.name
    rules.read(PROFILE, PROGRESS, CONTROL, WANTED, SOURCE, STREAMS, READY, site=site)
    rules.write(CONTROL, WANTED, site=site)
    rules.read(CLOCK, site=site, tier="operator", node=name)  # tiercut doctor measures links
    rules.write(CLOCK, ECHO, site=site)


def _reader(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    del streams
    site = listed.identity.site
    _read_statuses(rules, site)
    rules.read(RESULT, DROPPED, LAST, STREAM_STATUS, PLAN, EXPLAIN, CAPACITY, site=site)


def _sensor(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    del streams
    rules.write(*listed.topics)


def _bus(rules: _Rules, listed: Listed, streams: Sequence[StreamSettings]) -> None:
    del listed, streams
    rules.read(UPTIME)


_SITE: dict[Role, Callable[[_Rules, Listed, Sequence[StreamSettings]], None]] = {
    "device": _device,
    "edge": _edge,
    "hub": _hub,
    "operator": _operator,
    "reader": _reader,
    "sensor": _sensor,
    "bus": _bus,
}


def _check_prefix(prefix: str) -> None:
    """The hub may publish everything below it, and people read it."""
    levels = prefix.split("/")
    wrong = not all(levels) or levels[0] == "tiercut" or prefix.startswith("$") or prefix != prefix.strip()
    if wrong or not prefix.isprintable() or any(sign in prefix for sign in "+#"):
        raise SettingsError(
            "bad setting home_assistant_prefix",
            expected="levels of a topic without wildcards, outside of tiercut/ and $",
            came=repr(prefix[:80]),
            fix="set it as in Home Assistant, where it is 'homeassistant' by default",
        )


def _sensor_topics(stream: StreamSettings) -> list[str]:
    """The sensors' own topics; one that could break the rules' file gives no right at all."""
    topics = []
    for part in stream.parts:
        if part.sensor == MQTT:
            try:
                check_sensor_topic(part.topic)
            except SettingsError:
                continue
            topics.append(part.topic)
    return topics


# ---------------------------------------------------------------------- where cloud nodes are


def _cloud(rules: _Rules) -> None:
    """A cloud node: serves any site, each under that site's own topics."""
    site, name = rules.identity.site, rules.identity.name
    _node(rules, site=site, tier="cloud", node=name)
    rules.read(STATUS, tier="cloud")
    rules.read(WORK, CLOCK, ECHO, tier="cloud", node=name)
    rules.write(READY)
    rules.write(CLOCK)
    rules.write(RETURN, tier="edge")
    rules.write(RETURN, tier="device")


def _reach_cloud(rules: _Rules, streams: Sequence[StreamSettings]) -> None:
    """What an identity of a site needs where cloud nodes are."""
    site, role, name = rules.identity.site, rules.identity.role, rules.identity.name
    if role in {"device", "edge", "hub", "operator", "reader"}:
        rules.read(STATUS, tier="cloud")
    if role in {"edge", "device"}:
        for tier in dict.fromkeys((role, "device")):  # an edge's gateway has a connection of its own
            rules.write(STATUS, site=site, tier=tier, node=name)
            rules.read(RETURN, CLOCK, ECHO, site=site, tier=tier, node=name)
        rules.write(CLOCK, tier="cloud")
        rules.write(ECHO, site=site, tier="cloud")
        for stream in streams if role == "device" else ():
            if stream.device == name:
                rules.write(WORK, site=site, tier="cloud", stream=stream.name)
    if role == "edge":
        rules.write(WORK, site=site, tier="cloud")
    if role == "hub":
        rules.write(STATUS, site=site, tier="hub", node=name)
        rules.read(PROFILE, PROGRESS, tier="cloud")
        rules.write(PREPARE, PROBE, tier="cloud")
        rules.read(READY, site=site)
    if role == "operator":
        rules.read(PROFILE, PROGRESS, tier="cloud")
        rules.read(CLOCK, site=site, tier="operator", node=name)
        rules.write(CLOCK, ECHO, site=site, tier="cloud")
