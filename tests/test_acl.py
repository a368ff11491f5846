"""Access rules as text: who may do what, topic by topic."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker.mosquitto.access_rules import acl, cloud_acl
from broker.mosquitto.rules_keeper import RulesKeeper
from broker.registry.answers import RunningStream
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.topics import (  # fmt: skip
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
    TOPICS,
    WANTED,
    WORK,
    Topic,
)
from tiercut.security.identity_list import LIST_FILE, IdentityList, IdentityName, Listed, check_sensor_topic, list_bytes

NAMES = ("device/d", "device/x", "edge/e", "hub/h", "operator/o", "reader/r", "bus/b", "sensor/s")
PEOPLE = [
    *(Listed(IdentityName.parse(f"t/{name}"), ("door/+",) if name == "sensor/s" else ()) for name in NAMES),
    Listed(IdentityName("cloud", "cloud", "c")),
    Listed(IdentityName("cloud", "bus", "cb")),
    Listed(IdentityName("other", "edge", "e")),
]
CAM = StreamSettings(name="cam", model="m", sensor="camera", device="d")
DOOR = StreamSettings(name="door", model="m", sensor="mqtt", topic="frigate/door/snapshot")


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT's rule, for filters without ``#`` inside."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        return levels[: len(wanted) - 1] == wanted[:-1]
    return len(wanted) == len(levels) and all(a in {"+", b} for a, b in zip(wanted, levels, strict=True))


def who(rules: str, access: str, topic: str) -> str:
    """Identities that may, by role and name."""
    found, user = [], ""
    for line in rules.splitlines():
        if line.startswith("user "):
            user = line.removeprefix("user ").split("/", 1)[1]
        elif line.startswith(f"topic {access} ") and matches(line.split(" ", 2)[2], topic) and user not in found:
            found.append(user)
    return " ".join(sorted(found))


#: topic → (its names, who may publish, who may read), on a site's bus with the streams ``cam`` (read by ``d``) and
#: ``door`` (from the bus)
ON_THE_SITE: dict[str, tuple[Topic, dict[str, str], str, str]] = {
    "work of cam": (WORK, {"tier": "edge", "node": "e", "stream": "cam"}, "device/d edge/e", "edge/e"),
    "work of door": (WORK, {"tier": "edge", "node": "e", "stream": "door"}, "edge/e", "edge/e"),
    "status": (
        STATUS,
        {"tier": "device", "node": "d"},
        "device/d",
        "device/d device/x edge/e hub/h operator/o reader/r",
    ),
    "clock": (CLOCK, {"tier": "device", "node": "d"}, "device/d device/x edge/e operator/o", "device/d"),
    "echo": (ECHO, {"tier": "edge", "node": "e"}, "device/d device/x edge/e operator/o", "edge/e"),
    "return": (RETURN, {"tier": "edge", "node": "e"}, "", ""),
    "return to a device": (RETURN, {"tier": "device", "node": "d"}, "edge/e", "device/d"),
    "return to the gateway": (RETURN, {"tier": "device", "node": "e"}, "edge/e", "edge/e"),
    "relay of cam": (RELAY, {"tier": "edge", "node": "e", "stream": "cam"}, "device/d edge/e", "edge/e"),
    "relay of door": (RELAY, {"tier": "edge", "node": "e", "stream": "door"}, "edge/e", "edge/e"),
    "profile": (PROFILE, {"tier": "device", "node": "d", "model": "m"}, "device/d", "hub/h operator/o"),
    "prepare": (PREPARE, {"tier": "device", "node": "d"}, "hub/h", "device/d"),
    "probe": (PROBE, {"tier": "edge", "node": "e"}, "hub/h", "edge/e"),
    "progress": (PROGRESS, {"tier": "edge", "node": "e"}, "edge/e", "hub/h operator/o"),
    "streams": (STREAMS, {"tier": "device", "node": "d"}, "hub/h", "device/d hub/h operator/o"),
    "streams of the gateway": (STREAMS, {"tier": "device", "node": "e"}, "hub/h", "edge/e hub/h operator/o"),
    "control": (CONTROL, {"stream": "cam"}, "hub/h operator/o", "hub/h operator/o"),
    "ready": (READY, {"stream": "cam"}, "device/d edge/e", "hub/h operator/o"),
    "explain": (EXPLAIN, {"stream": "cam"}, "hub/h", "hub/h operator/o reader/r"),
    "capacity": (CAPACITY, {}, "hub/h", "hub/h operator/o reader/r"),
    "plan": (PLAN, {"stream": "cam"}, "hub/h", "device/d edge/e hub/h operator/o reader/r"),
    "result": (RESULT, {"stream": "cam"}, "device/d edge/e", "device/d edge/e hub/h operator/o reader/r"),
    "dropped": (DROPPED, {"stream": "cam"}, "device/d edge/e", "device/d edge/e hub/h operator/o reader/r"),
    "last": (LAST, {"stream": "cam"}, "hub/h", "hub/h operator/o reader/r"),
    "wanted": (WANTED, {"stream": "cam"}, "hub/h operator/o", "hub/h operator/o"),
    "stream's status": (STREAM_STATUS, {"stream": "cam"}, "hub/h", "hub/h operator/o reader/r"),
    "source": (SOURCE, {"stream": "cam"}, "device/d edge/e hub/h", "hub/h operator/o"),
}


def test_every_topic_has_been_thought_of() -> None:
    assert {topic.pattern for topic, *_ in ON_THE_SITE.values()} == {topic.pattern for topic in TOPICS}


@pytest.mark.parametrize("what", ON_THE_SITE)
def test_site_rules_are_as_the_table_says(what: str) -> None:
    topic, names, writers, readers = ON_THE_SITE[what]
    rules, text = acl("t", PEOPLE, [CAM, DOOR]), topic.of(site="t", **names)
    assert (who(rules, "write", text), who(rules, "read", text)) == (writers, readers)


def test_sensors_publish_on_their_own_topics_and_read_nothing() -> None:
    rules = acl("t", PEOPLE, [CAM, DOOR])
    assert who(rules, "write", "door/bell") == "sensor/s"
    own = rules.split("user t/sensor/s\n")[1].split("user ")[0]
    assert own.strip() == "topic write door/+"


def test_topics_of_a_sensor_are_read_by_edges_or_by_the_device_of_the_stream() -> None:
    read_by_d = StreamSettings(
        name="both",
        model="m",
        sensor="fusion",
        device="d",
        sources=(SourceSettings(sensor="mqtt", topic="tele/power"), SourceSettings(sensor="camera")),
    )
    rules = acl("t", PEOPLE, [DOOR, read_by_d])
    assert who(rules, "read", "frigate/door/snapshot") == "edge/e"
    assert who(rules, "read", "tele/power") == "device/d"


def test_topic_that_would_break_out_of_the_rules_gives_no_right() -> None:
    bad = StreamSettings(name="bad", model="m", topic="x\nuser t/device/x\ntopic readwrite #")
    assert "readwrite" not in acl("t", PEOPLE, [bad])
    for topic in ("", "tiercut/v1/t/stream/cam/plan", "#", "+/a", "a/#/b", "a/b+", "$SYS/x", "a\nb", " a"):
        with pytest.raises(SettingsError):
            check_sensor_topic(topic)
    check_sensor_topic("frigate/+/person/snapshot")


@pytest.mark.parametrize(
    ("topic", "writers", "readers"),
    [
        ("t/cloud/c/work/cam", "edge/e", "cloud/c"),
        ("other/cloud/c/work/cam", "edge/e", "cloud/c"),  # the other site's edge e
        ("t/edge/e/work/cam", "", ""),
        ("t/edge/e/return", "cloud/c", "edge/e"),
        ("t/device/e/return", "cloud/c", "edge/e"),
        ("t/device/d/return", "cloud/c", ""),
        ("t/edge/e/status", "edge/e", ""),
        ("t/hub/h/status", "hub/h", ""),
        ("cloud/cloud/c/status", "cloud/c", "cloud/c edge/e hub/h operator/o reader/r"),
        ("cloud/cloud/c/profile/m", "cloud/c", "hub/h operator/o"),
        ("cloud/cloud/c/progress", "cloud/c", "hub/h operator/o"),
        ("cloud/cloud/c/prepare", "hub/h", "cloud/c"),
        ("cloud/cloud/c/clock", "cloud/c edge/e", "cloud/c"),
        ("t/cloud/c/clock", "cloud/c edge/e operator/o", "cloud/c"),
        ("t/cloud/c/echo", "edge/e operator/o", "cloud/c"),
        ("t/edge/e/clock", "cloud/c", "edge/e"),
        ("t/stream/cam/ready", "cloud/c", "hub/h"),
        ("t/stream/cam/result", "cloud/c edge/e", "operator/o reader/r"),
        ("t/stream/cam/dropped", "cloud/c edge/e", "operator/o reader/r"),
        ("t/edge/e/relay/cam", "", ""),
        ("t/stream/cam/plan", "", ""),
        ("t/stream/cam/wanted", "", ""),
    ],
)
def test_rules_of_the_clouds_bus(topic: str, writers: str, readers: str) -> None:
    rules = cloud_acl(PEOPLE)
    assert (who(rules, "write", f"tiercut/v1/{topic}"), who(rules, "read", f"tiercut/v1/{topic}")) == (writers, readers)


def test_edges_of_one_site_have_no_rights_in_another() -> None:
    rules = cloud_acl(PEOPLE)
    own = rules.split("user other/edge/e\n")[1].split("user ")[0]
    assert "tiercut/v1/t/" not in own
    assert "other/" not in acl("t", PEOPLE, [CAM])


def test_device_that_calls_itself_a_gateway_gets_no_stream_of_the_bus(tmp_path: Path, chain: Bundle) -> None:
    write_list(tmp_path / LIST_FILE, PEOPLE)
    rules = tmp_path / "acl"
    access = RulesKeeper(rules, identity=tmp_path, site="t", cloud_here=False, home_assistant="homeassistant")
    asyncio.run(access.streams_changed([RunningStream(CAM, "d", chain), RunningStream(DOOR, "x", chain)]))
    for topic in ("frigate/door/snapshot", "tiercut/v1/t/stream/door/result", "tiercut/v1/t/stream/door/plan"):
        assert "device/" not in who(rules.read_text(), "read", topic)
    assert who(rules.read_text(), "read", "frigate/door/snapshot") == "edge/e"
    assert who(rules.read_text(), "read", "tiercut/v1/t/stream/cam/plan").startswith("device/d edge/e")


def write_list(path: Path, people: list[Listed]) -> None:
    path.write_bytes(list_bytes(IdentityList(tuple(people))))


def test_cloud_nodes_of_another_site_than_the_clouds_have_no_rights() -> None:
    posing = [Listed(IdentityName(site, "cloud", "posing")) for site in ("t", "other")]
    assert "posing" not in acl("t", [*PEOPLE, *posing], [CAM], cloud_here=True)
    assert "posing" not in cloud_acl([*PEOPLE, *posing])
    rules = acl("t", [*PEOPLE, Listed(IdentityName("dc", "cloud", "c2"))], [CAM], cloud_here=True, cloud_site="dc")
    assert who(rules, "write", "tiercut/v1/t/stream/cam/result") == "cloud/c2 device/d edge/e"


@pytest.mark.parametrize("prefix", ["#", "+", "tiercut", "tiercut/v1/t", "ha/#", "$SYS", "", "a//b", "a\ntopic x"])
def test_prefix_of_home_assistant_gives_no_other_rights(prefix: str) -> None:
    with pytest.raises(SettingsError, match="home_assistant_prefix"):
        acl("t", PEOPLE, [], home_assistant=prefix)


def rights_of_ways(cloud_here: bool) -> list[tuple[str, str, str, str]]:
    """(bus, who, access, topic): what frames of ``cam`` need that go every way at once, with outcomes in order."""
    site = "site"
    cloud = "site" if cloud_here else "cloud"
    work, back = "t/{}/work/cam", "t/{}/return"
    needed = [
        (site, "device/d", "read", "t/stream/cam/plan"),
        *((site, "device/d", "write", work.format(f"edge/{edge}")) for edge in ("e", "x")),
        *((site, f"edge/{edge}", "read", work.format(f"edge/{edge}")) for edge in ("e", "x")),
        *((cloud, f"edge/{edge}", "write", work.format("cloud/c")) for edge in ("e", "x")),
        (cloud, "cloud/c", "read", work.format("cloud/c")),
        *((site, f"edge/{edge}", "write", back.format("device/d")) for edge in ("e", "x")),
        (site, "device/d", "read", back.format("device/d")),
        *((site, "device/d", "write", f"t/stream/cam/{kind}") for kind in ("result", "dropped", "ready")),
        *((site, f"edge/{edge}", "write", "t/stream/cam/ready") for edge in ("e", "x")),
        (cloud, "cloud/c", "write", "t/stream/cam/ready"),
    ]
    if cloud_here:
        needed += [
            (site, "device/d", "write", work.format("cloud/c")),
            (site, "cloud/c", "write", back.format("device/d")),
        ]
    else:
        needed += [(cloud, "cloud/c", "write", back.format("edge/e")), (cloud, "edge/e", "read", back.format("edge/e"))]
    return needed


@pytest.mark.parametrize("cloud_here", [False, True])
def test_frames_of_several_plans_have_all_rights_that_they_need(cloud_here: bool) -> None:
    people = [*PEOPLE, Listed(IdentityName("t", "edge", "x"))]
    rules = {"site": acl("t", people, [CAM], cloud_here=cloud_here), "cloud": cloud_acl(people)}
    missing = [
        each
        for each in rights_of_ways(cloud_here)
        if each[1] not in who(rules[each[0]], each[2], f"tiercut/v1/{each[3]}").split()
    ]
    assert not missing


def test_with_one_broker_devices_send_their_own_streams_to_the_cloud() -> None:
    rules = acl("t", PEOPLE, [CAM], cloud_here=True)
    assert who(rules, "write", "tiercut/v1/t/cloud/c/work/cam") == "device/d edge/e"
    assert who(rules, "write", "tiercut/v1/t/cloud/c/work/door") == "edge/e"
    assert who(rules, "write", "tiercut/v1/t/stream/cam/result") == "cloud/c device/d edge/e"
    assert who(rules, "write", "tiercut/v1/t/device/d/return") == "cloud/c edge/e"
    assert who(rules, "read", "tiercut/v1/t/device/d/return") == "device/d"
    assert (
        who(rules, "read", "tiercut/v1/cloud/cloud/c/status")
        == "cloud/c device/d device/x edge/e hub/h operator/o reader/r"
    )
