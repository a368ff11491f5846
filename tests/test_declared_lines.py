"""Lines that several hops share, as they are declared: which hops cross them, and what they carry."""

from __future__ import annotations

import math
from typing import Any

import pytest

from broker.settings import LineSettings
from tiercut.coordinator.site.lines import LineEstimators, line_of
from tiercut.errors import SettingsError
from tiercut.estimate.links import LinkSample


def carried(turns: str, *, mbps: float, count: int = 40, size: int = 5000) -> LineEstimators:
    """A line that two hops keep busy, in turns or sharing it."""
    line = line_of("uplink", ["device -> cloud", "edge -> cloud"], 9.0)
    lines, alone_s = LineEstimators([line]), size * 8e-6 / mbps
    lines.observe("device/d", "cloud/c", LinkSample(at_s=0.0, payload_bytes=200, seconds=0.0055, probe=True))
    for index in range(count):
        sender = ("device/d", "edge/e")[index % 2]
        ended_s = alone_s * (index + 1 if turns == "turns" else 2 * (index // 2 + 1))
        waited_s = 2 * alone_s  # behind the one before it, or beside it
        sample = LinkSample(at_s=ended_s + 0.005, payload_bytes=size, seconds=waited_s + 0.005)
        lines.observe(sender, "cloud/c", sample)
    return lines


@pytest.mark.parametrize("turns", ["turns", "shared"])
@pytest.mark.parametrize("mbps", [0.5, 2.0])
def test_busy_line_carries_what_all_its_hops_send(turns: str, mbps: float) -> None:
    lines = carried(turns, mbps=mbps)
    assert lines.mbps(lines.lines[0], 40 * 5000 * 8e-6 / mbps) == pytest.approx(mbps, rel=0.1)


def test_line_that_is_idle_carries_what_was_declared_until_it_is_measured() -> None:
    lines = LineEstimators([line_of("uplink", ["edge -> cloud"], 9.0)])
    assert lines.mbps(lines.lines[0], 0.0) == pytest.approx(9.0)
    for index in range(1, 20):
        at_s = 10.0 * index
        for size in (200, 20_000):
            sample = LinkSample(at_s=at_s, payload_bytes=size, seconds=0.005 + size * 8e-6 / 3.0, probe=True)
            lines.observe("edge/e", "cloud/c", sample)
    assert lines.mbps(lines.lines[0], 200.0) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("hop", ["device", "edge -> device", "edge -> nowhere", "edge/ -> cloud", "edge/e > cloud"])
def test_hop_that_is_none_is_refused(hop: str) -> None:
    with pytest.raises(SettingsError, match="line 'uplink'"):
        line_of("uplink", [hop], None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hops": ()}, "hops of line 'uplink'.*at least one"),
        ({"mbps": 1e12}, "mbps of line 'uplink'.*0.001 to 1000000"),
        ({"mbps": 0}, "mbps of line 'uplink'"),
        ({"mbps": math.nan}, "mbps of line 'uplink'"),
        ({"mbps": True}, "mbps of line 'uplink'"),
        ({"name": "an uplink"}, "name"),
    ],
)
def test_line_that_carries_nothing_or_too_much_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LineSettings(**({"name": "uplink", "hops": ("edge -> cloud",)} | wrong))


def test_line_carries_the_hops_that_it_names() -> None:
    line = line_of("radio", ["device/a -> edge", "device/b->edge/e"], None)
    assert line.carries("device/a", "edge/f")
    assert line.carries("device/b", "edge/e")
    assert not line.carries("device/b", "edge/f")
    assert not line.carries("device/c", "edge/e")


def test_hop_that_crosses_two_lines_is_held_to_both() -> None:
    radio = line_of("radio", ["device -> edge", "device -> cloud"], 9.0)
    uplink = line_of("uplink", ["device -> cloud", "edge -> cloud"], 9.0)
    lines = LineEstimators([radio, uplink])
    for index in range(1, 20):
        for size in (200, 20_000):
            sample = LinkSample(at_s=10.0 * index, payload_bytes=size, seconds=0.005 + size * 8e-6, probe=True)
            lines.observe("device/d", "cloud/c", sample)
    assert lines.of("device/d", "cloud/c") == (radio, uplink)
    assert [lines.mbps(line, 200.0) for line in (radio, uplink)] == pytest.approx([1.0, 1.0], rel=0.1)
