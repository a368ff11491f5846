"""The secured site of compose.yaml in real containers, as a user starts it: one story, told in order."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.composed import ROOT, SLOWED, Composed, Heard, result_of, why_not

pytestmark = [pytest.mark.slow, pytest.mark.privileged, pytest.mark.timeout(900)]

#: Wanted with nothing else on the machine; a busy one gets its time.
FIRST_RESULT_S = 60.0
#: From a new edge's container until it works on a frame.
JOINED_S = 10.0
PICTURE = ROOT / "deploy" / "sensors" / "doorbell.jpg"
POOL = {f"edge-{number}" for number in range(1, 9)}
Record = Callable[[str, object], None]
GATES = ("gate", "gate-2", "gate-3", "gate-4")
CAMERAS = [f"camera-{number}" for number in range(1, 7)]
#: Their streams, in deploy/settings/hub.toml.
STREAMS = ("porch", "yard", "drive", "garden", "garage", "hall")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    with Composed(
        tmp_path_factory.mktemp("site"), TIERCUT_CERTS="--sensors gate=gate/picture", TIERCUT_LAN_MBPS="20"
    ) as site:
        yield site


@pytest.fixture(scope="module")
def heard(site: Composed) -> Iterator[Heard]:
    with Heard(site, site.reader()) as heard:
        yield heard


@pytest.fixture(scope="module")
def gate(site: Composed) -> Iterator[None]:
    """A sensor of our own: it publishes a JPEG twice a second with nothing but `mosquitto_pub`."""
    words = ["-t", "gate/picture", "-f", str(PICTURE), "--repeat", "100000", "--repeat-delay", "0.5"]
    with subprocess.Popen(site.client("mosquitto_pub", site.sensor("gate"), *words)) as publishing:
        yield
        publishing.kill()


def stream_file(name: str, folder: Path) -> Path:
    path = folder / f"{name}.toml"
    settings = {"name": name, "model": "efficientnet-lite0", "sensor": "mqtt", "topic": "gate/picture"}
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in settings.items()), encoding="utf-8")
    return path


def test_site_gives_results_of_all_cameras(site: Composed, heard: Heard, record_testsuite_property: Record) -> None:
    for stream in STREAMS:
        heard.until(result_of(stream), within_s=FIRST_RESULT_S)
    first_s = heard.first_result_s - site.began_s
    record_testsuite_property("up_s", round(site.up_s, 1))
    record_testsuite_property("first_result_s", round(first_s, 1))
    assert first_s < FIRST_RESULT_S


def test_site_says_what_it_gives_and_that_is_what_comes(site: Composed, heard: Heard) -> None:
    del site
    settled_s = time.monotonic() + 15
    said = heard.until(lambda each: each.kind == "capacity", within_s=60, after_s=settled_s)
    assert set(said.document["streams"]) == set(STREAMS)
    assert said.document["measured"] == pytest.approx(heard.results_between(said.at_s - 5, said.at_s) / 5, rel=0.2)
    assert said.document["measured"] > said.document["edges_alone"]


def test_no_container_runs_as_root_or_may_write_to_its_image(site: Composed) -> None:
    services = ("site-bus", "cloud-bus", "hub", *CAMERAS, "edge", "cloud")
    said = json.loads(site.engine("inspect", *(each for service in services for each in site.containers(service))))
    assert len(said) == len(services)
    for each in said:
        assert each["Config"]["User"] == "10001:10001", each["Name"]
        assert each["HostConfig"]["ReadonlyRootfs"], each["Name"]
        status = site.engine("exec", each["Id"], "cat", "/proc/1/status")
        capabilities = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapBnd"))]
        assert [int(bits, 16) for bits in capabilities] == [0, 0], each["Name"]


def test_every_node_says_that_it_is_well(site: Composed) -> None:
    for service in ("hub", *CAMERAS, "edge", "cloud"):
        for container in site.containers(service):
            assert site.is_well(container, within_s=90), site.logs()  # a part of a core starts Python slowly


def test_camera_has_no_torch_and_sees_nothing_of_the_cloud(site: Composed) -> None:
    (camera,) = site.containers("camera-1")
    found = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert site.engine("exec", camera, "python", "-c", found).strip() == "None"
    assert not site.engine("exec", camera, "getent", "hosts", "cloud-bus", check=False)


def test_who_has_no_certificate_reads_nothing(site: Composed) -> None:
    authority = ["--cafile", str(site.reader() / "ca.pem")]
    without = [
        "mosquitto_sub",
        "-h",
        "localhost",
        "-p",
        str(site.bus_port),
        *authority,
        "-t",
        "#",
        "-C",
        "1",
        "-W",
        "5",
    ]
    ended = subprocess.run(without, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert not ended.stdout


def test_own_sensor_is_added_by_toml_alone(site: Composed, heard: Heard, gate: None, tmp_path: Path) -> None:
    del gate
    for name in GATES:
        site.tiercut_here("stream", "add", str(stream_file(name, tmp_path)))
        result = heard.until(result_of(name), within_s=20)
        assert result.document["labels"][0]["label"] == "Egyptian cat"
    assert "gate-4" in site.tiercut("stream", "list")


def test_another_edge_joins_and_takes_streams(site: Composed, heard: Heard, record_testsuite_property: Record) -> None:
    before = set(site.edges())
    asked_s = time.monotonic()
    site.compose("up", "-d", "--no-recreate", "--scale", "edge=2")
    up_s = time.monotonic() - asked_s
    moved = heard.until(
        lambda each: each.is_state and each.document["device"] in POOL - before, within_s=30, after_s=asked_s
    )
    new, stream = moved.document["device"], moved.document["stream"]
    result = heard.until(lambda each: result_of(stream)(each) and each.worked_on(new), within_s=30, after_s=asked_s)
    record_testsuite_property("scale_s", round(up_s, 1))
    record_testsuite_property("joined_s", round(result.at_s - asked_s, 1))
    assert result.at_s - asked_s - up_s < JOINED_S
    assert len(site.containers("edge")) == 2


def test_streams_of_an_edge_that_is_gone_move_to_the_other(
    site: Composed, heard: Heard, record_testsuite_property: Record
) -> None:
    edges = site.edges()
    gone = heard.reader_of("gate")
    killed_s = time.monotonic()
    site.engine("kill", edges.pop(gone))
    (other,) = edges
    heard.until(
        lambda each: each.is_state_of("gate") and each.document["device"] == other, within_s=20, after_s=killed_s
    )
    result = heard.until(result_of("gate"), within_s=20)
    record_testsuite_property("moved_s", round(result.at_s - killed_s, 1))
    assert not result.worked_on(gone)


def test_sensors_profile_gives_results_of_pictures_and_of_json(site: Composed, heard: Heard) -> None:
    site.compose("--profile", "sensors", "up", "-d", "--no-recreate", "doorbell", "watch", "sensor-streams")
    bell = heard.until(result_of("doorbell"), within_s=40)
    watch = heard.until(result_of("watch"), within_s=40)
    assert bell.document["labels"][0]["label"] == "Egyptian cat"
    assert watch.document["model"]["name"] == "exercise"


def test_slow_link_holds_and_its_node_is_no_root(site: Composed, heard: Heard) -> None:
    site.compose(*SLOWED, "up", "-d", "--no-deps", "camera-1")
    began_s = time.monotonic()
    heard.until(result_of("porch"), within_s=40, after_s=began_s)
    (camera,) = site.containers("camera-1")
    assert "tbf" in site.engine("exec", camera, "tc", "qdisc", "show")
    status = site.engine("exec", camera, "cat", "/proc/1/status").splitlines()
    assert [line.split()[1] for line in status if line.startswith(("Uid", "CapEff"))] == ["10001", "0" * 16]


def test_sensor_is_removed_while_the_rest_goes_on(site: Composed, heard: Heard) -> None:
    for name in GATES:
        site.tiercut_here("stream", "remove", name)
    assert "gate" not in site.tiercut("stream", "list")
    for stream in STREAMS:
        heard.until(result_of(stream), within_s=20)
