"""Lines that nobody has declared: found where hops share one, and not where they do not, whatever makes them slow."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from tests.coordinating import Told
from tests.full_sites import crowd, works
from tiercut.coordinator.site.lines import LineEstimators, line_of
from tiercut.estimate.links import LinkSample
from tiercut.estimate.together import Crossings, evidence, lonely_of

DELAY_S = 0.01
HOPS = (("device/d0", "cloud/c"), ("device/d1", "cloud/c"), ("edge/e", "cloud/c"))


@dataclass(frozen=True, order=True)
class Sent:
    """A frame that is sent on a hop."""

    at_s: float
    payload_bytes: int
    hop: int


@dataclass(frozen=True)
class Crossed:
    """A frame that has crossed it."""

    sent: Sent
    ended_s: float


def cameras(rng: random.Random, hops: int, *, load: float, mbps: float, seconds: float) -> list[Sent]:
    """Frames of one camera for each hop that together use part of a line's time."""
    size = rng.choice((5_000, 16_000))
    sent = []
    for hop in range(hops):
        every_s = rng.uniform(0.9, 1.1) * hops * size * 8e-6 / mbps / load
        at_s = rng.uniform(0, every_s)
        while at_s < seconds:
            sent.append(Sent(at_s + rng.uniform(0, 0.3) * every_s, int(size * rng.uniform(0.8, 1.2)), hop))
            at_s += every_s
    return sorted(sent)


Slow = Callable[[float], float]


def in_turn(sent: Iterable[Sent], mbps: float, slow: Slow = lambda _: 1.0) -> Iterator[Crossed]:
    """A line that sends one frame after the other."""
    free_s = 0.0
    for frame in sorted(sent):
        begins_s = max(frame.at_s, free_s)
        free_s = begins_s + slow(begins_s) * frame.payload_bytes * 8e-6 / mbps
        yield Crossed(frame, free_s + DELAY_S)


def at_once(sent: Iterable[Sent], mbps: float, slow: Slow = lambda _: 1.0) -> Iterator[Crossed]:
    """A line that sends all frames at once, each at an equal part of its rate."""
    coming, now_s = sorted(sent, reverse=True), 0.0
    left: dict[Sent, float] = {}
    while coming or left:
        next_s = coming[-1].at_s if coming else float("inf")
        byte_s = slow(now_s) * 8e-6 / mbps * max(1, len(left))
        first = min(left, key=lambda frame: left[frame], default=None)
        if first is not None and now_s + left[first] * byte_s <= next_s:
            sent_bytes = left.pop(first)
            now_s += sent_bytes * byte_s
            yield Crossed(first, now_s + DELAY_S)
        else:
            sent_bytes = (next_s - now_s) / byte_s
            now_s = next_s
        left = {frame: rest - sent_bytes for frame, rest in left.items()}
        if now_s == next_s:
            frame = coming.pop()
            left[frame] = frame.payload_bytes


LINES = {"in turn": in_turn, "at once": at_once}


def stalled(crossed: Iterable[Crossed], rng: random.Random, every_s: float, length_s: float) -> list[Crossed]:
    """What everybody hears of it when all programs stand still now and then: nothing ends within a stall."""
    stalls, at_s = [], 0.0
    while at_s < 200.0:
        at_s += rng.expovariate(1 / every_s)
        stalls.append((at_s, at_s + length_s * rng.uniform(0.3, 1.0)))
    found = []
    for each in crossed:
        ended_s = each.ended_s
        for began_s, until_s in stalls:
            ended_s = until_s if began_s < ended_s < until_s else ended_s
        found.append(Crossed(each.sent, ended_s))
    return found


def heard(crossed: Iterable[Crossed], rng: random.Random, *, seen: float = 1.0) -> list[tuple[int, LinkSample]]:
    """What the hub hears: of some frames, with what programs add to their times."""
    samples = []
    for each in sorted(crossed, key=lambda each: each.ended_s):
        if rng.random() < seen:
            ended_s = each.ended_s + abs(rng.gauss(0, 0.002))
            sample = LinkSample(at_s=ended_s, payload_bytes=each.sent.payload_bytes, seconds=ended_s - each.sent.at_s)
            samples.append((each.sent.hop, sample))
    return samples


def probes(lines: LineEstimators, hops: int, mbps: float) -> None:
    """Each hop measured alone at the start."""
    for hop in HOPS[:hops]:
        for size in (200, 20_000):
            seconds = DELAY_S + size * 8e-6 / mbps
            lines.observe(*hop, LinkSample(at_s=0.0, payload_bytes=size, seconds=seconds, probe=True))


def told(lines: LineEstimators, samples: Iterable[tuple[int, LinkSample]]) -> list[tuple[float, str]]:
    """What is said while they come, and when."""
    said: list[tuple[float, str]] = []
    for hop, sample in samples:
        lines.observe(*HOPS[hop], sample)
        said += [(sample.at_s, sentence) for sentence in lines.look(sample.at_s)]
    return said


def shared(seed: int, line: str, *, load: float, seen: float = 1.0, hops: int = 2) -> tuple[LineEstimators, float]:
    """Hops on one line for 90 seconds: what is known then, and when it was found."""
    rng, lines = random.Random(seed), LineEstimators()  # noqa: S311 - numbers for a test
    mbps = rng.choice((0.8, 2.0))
    probes(lines, hops, mbps)
    sent = cameras(rng, hops, load=load, mbps=mbps, seconds=90.0)
    said = told(lines, heard(LINES[line](sent, mbps), rng, seen=seen))
    if lines.found:
        assert lines.mbps(lines.found[0], 90.0) == pytest.approx(mbps, rel=0.4)
    return lines, min((at_s for at_s, _ in said), default=float("inf"))


@pytest.mark.parametrize("seen", [1.0, 0.6])
@pytest.mark.parametrize("line", LINES)
def test_hops_that_share_a_line_are_found_within_a_minute(line: str, seen: float) -> None:
    found = [shared(seed, line, load=0.6, seen=seen) for seed in range(8)]
    assert sum(at_s <= 60.0 for _, at_s in found) >= 7
    assert all(lines.found[0].hops == HOPS[:1] + HOPS[1:2] for lines, _ in found if lines.found)


def test_line_of_three_hops_is_one_line() -> None:
    found = [shared(seed, "in turn", load=0.6, hops=3)[0].found for seed in range(8)]
    assert sum(len(lines) == 1 and lines[0].hops == HOPS for lines in found) >= 5
    assert all(len(lines) <= 1 for lines in found)


def phases(rng: random.Random, length_s: float) -> Slow:
    """A processor that makes everything take two and a half times as long for half of the time."""
    slow = [rng.choice((1.0, 2.5)) for _ in range(1000)]
    return lambda now_s: slow[int(now_s / length_s) % len(slow)]


SLOW: dict[str, Callable[[random.Random], Slow]] = {
    "none": lambda _: lambda _: 1.0,
    "stalls": lambda _: lambda _: 1.0,
    "phases": lambda rng: phases(rng, rng.choice((0.3, 1.0, 4.0))),
    "both": lambda rng: phases(rng, rng.choice((0.3, 1.0, 4.0))),
    "slower": lambda _: lambda _: 2.5,  # than when the hops were measured alone
}


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95, 1.1])
@pytest.mark.parametrize("trouble", ["none", "stalls", "phases", "both", "slower"])
def test_hops_with_lines_of_their_own_are_never_taken_to_share_one(trouble: str, load: float) -> None:
    for seed in range(4):
        rng, lines = random.Random(seed), LineEstimators()  # noqa: S311 - numbers for a test
        mbps = rng.choice((0.8, 2.0))
        probes(lines, 3, mbps)
        sent = cameras(rng, 3, load=3 * load, mbps=mbps, seconds=90.0)
        slow = SLOW[trouble](rng)
        kind = LINES[rng.choice(sorted(LINES))]
        crossed = [each for hop in range(3) for each in kind([one for one in sent if one.hop == hop], mbps, slow)]
        if trouble in {"stalls", "both"}:
            crossed = stalled(crossed, rng, rng.choice((0.5, 2.0, 6.0)), rng.choice((0.05, 0.15, 0.5)))
        assert told(lines, heard(crossed, rng, seen=rng.choice((1.0, 0.6)))) == []


def test_line_is_forgotten_when_its_hops_have_lines_of_their_own() -> None:
    lines, _ = shared(1, "in turn", load=0.6)
    assert len(lines.found) == 1
    rng = random.Random(2)  # noqa: S311 - numbers for a test
    sent = [
        Sent(100 + each.at_s, *(each.payload_bytes, each.hop))
        for each in cameras(rng, 2, load=1.0, mbps=2.0, seconds=120.0)
    ]
    crossed = [each for hop in range(2) for each in in_turn([one for one in sent if one.hop == hop], 2.0)]
    said = told(lines, heard(crossed, rng))
    assert not lines.found
    assert "device/d0 -> cloud/c, device/d1 -> cloud/c do not share a line any more" in said[-1][1]


def test_line_that_turns_out_to_have_another_hop_carries_what_it_did() -> None:
    rng, lines = random.Random(1), LineEstimators()  # noqa: S311 - numbers for a test
    sent = cameras(rng, 2, load=0.6, mbps=2.0, seconds=90.0)
    probes(lines, 3, 2.0)
    told(lines, heard(in_turn(sent, 2.0), rng))
    (line,) = lines.found
    before = lines.mbps(line, 90.0)
    sent = [replace(each, at_s=each.at_s + 90.0) for each in cameras(rng, 3, load=0.6, mbps=2.0, seconds=90.0)]
    for hop, sample in heard(in_turn(sent, 2.0), rng):
        lines.observe(*HOPS[hop], sample)
        before, said = lines.mbps(lines.found[0], sample.at_s), lines.look(sample.at_s)
        if said:
            break
    assert len(lines.found[0].hops) == 3
    assert not any("any more" in each for each in said)
    assert lines.mbps(lines.found[0], sample.at_s) == before


def test_what_is_declared_of_a_hop_is_not_looked_for() -> None:
    for declared in (["device -> cloud"], ["device/d0 -> cloud"]):
        rng = random.Random(1)  # noqa: S311 - numbers for a test
        uplink = line_of("uplink", declared, 2.0)
        lines = LineEstimators([uplink])
        sent = cameras(rng, 2, load=0.6, mbps=2.0, seconds=90.0)
        assert told(lines, heard(in_turn(sent, 2.0), rng)) == []
        assert lines.lines == (uplink,)


def test_line_is_said_planned_and_told_of() -> None:
    slow = dict.fromkeys([("e", "c"), ("d0", "c"), ("d1", "c")], 2.0)
    site = crowd(2, told=Told(mbps=slow), cloud=True)
    rng = random.Random(1)  # noqa: S311 - numbers for a test
    lines = site.coordinator.view.lines
    for hop, sample in heard(in_turn(cameras(rng, 2, load=0.6, mbps=2.0, seconds=60.0), 2.0), rng):
        lines.observe(
            *HOPS[hop],
            LinkSample(at_s=site.now_s - 70 + sample.at_s, payload_bytes=sample.payload_bytes, seconds=sample.seconds),
        )
    works(site, 12, 2, asked_fps=4.0)
    assert site.capacity is not None
    (said,) = list(site.capacity.found_lines or [])
    assert said.startswith("device/d0 -> cloud/c, device/d1 -> cloud/c seem to share a line of ")
    assert said.endswith("Mbit/s ('shared-1'): declare it under 'lines' in the hub's settings to be sure")
    assert [line.name for line in lines.of("device/d1", "cloud/c")] == ["shared-1"]
    assert lines.of("edge/e", "cloud/c") == ()


def test_stall_of_both_hops_at_once_counts_for_less_than_by_chance() -> None:
    rng, hops = random.Random(3), (Crossings(), Crossings())  # noqa: S311 - numbers for a test
    sent = cameras(rng, 2, load=0.8, mbps=2.0, seconds=90.0)
    apart = [each for hop in range(2) for each in in_turn([one for one in sent if one.hop == hop], 2.0)]
    for hop, sample in heard(stalled(apart, rng, 0.5, 0.3), rng):
        hops[hop].observe(sample)
    one, other = (each.since(90.0) for each in hops)
    assert one is not None
    assert other is not None
    one_alone, other_alone = lonely_of([one, other])
    said = evidence(one, other, (one_alone, other_alone))
    assert said.pairs > 16
    assert said.together - said.by_chance < 0.1
