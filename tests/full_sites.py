"""A full site for tests: devices that each read a camera, and an edge that does not carry them all."""

from __future__ import annotations

from msgspec import UNSET

from tests.coordinating import Told, goal
from tiercut.coordinator.events import SourceHeard, StreamWanted
from tiercut.coordinator.site.problem import LEVELS
from tiercut.protocol.streams import SourceReport

#: A frame takes a device 400 ms, an edge 40 ms and a cloud node 4 ms.
ASKED_FPS = 10.0
#: Part of its time that a full site's processors may be busy.
FULL = LEVELS[-1]


def crowd(count: int = 6, *, cloud: bool = False, told: Told | None = None, **weights: float) -> Told:
    """Devices that each read a camera, and one edge: together they ask for more than it has."""
    told = told or Told()
    for index in range(count):
        name = f"cam{index}"
        told.coordinator.handle(StreamWanted(goal(name, device=f"d{index}", weight=weights.get(name, 1.0))))
        told.node("device", f"d{index}", 1.0)
    told.node("edge", "e", 0.1)
    if cloud:
        told.node("cloud", "c", 0.01)
    told.passes(3.0)
    return told


def works(told: Told, seconds: float, count: int = 6, asked_fps: float | None = ASKED_FPS) -> None:
    """All streams give frames for a while: as many as the site has room for, or as an edge of 25 a second takes."""
    names = [f"cam{index}" for index in range(count)]
    end_s = told.now_s + seconds
    began_s = told.now_s
    while told.now_s < end_s:
        round_s = told.now_s
        for name in names:
            mix = told.mixes[name]
            room_fps = min(asked_fps or 10.0, mix.frames_per_second or 25.0 / count)
            told.fps[name] = room_fps
            told.frames(1, name, every_s=0.0)
            told.now_s = round_s
        told.now_s = round_s + 1 / max(told.fps.values())
        told.do([])
        told.tick()
        for name in names:
            if int(told.now_s / 2) != int(round_s / 2):
                report(told, name, asked_fps, told.now_s - began_s)


def report(told: Told, name: str, asked_fps: float | None, seconds: float) -> None:
    """The node that reads a sensor says what it gives and what of it gets through."""
    frames = {"captured": int(1e6 + seconds * (asked_fps or 9.0)), "done": int(1e6 + seconds * told.fps[name])}
    device = told.coordinator.goal(name).device
    said = SourceReport(stream=name, node=device, state="running", frames=frames, frames_per_second=asked_fps or UNSET)
    told.coordinator.handle(SourceHeard(said, told.now_s))


def rates(told: Told) -> list[float]:
    """What each stream has room for."""
    return [mix.frames_per_second or ASKED_FPS for _, mix in sorted(told.mixes.items())]
