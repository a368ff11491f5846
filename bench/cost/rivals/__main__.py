"""A process of a rival, or the whole model in one process; `bench.cost` starts it.

    python -m bench.cost.rivals {serve|call} NAME PORT FOLDER CUT CODEC FPS

``call`` reads a number of frames from each line of its standard input, takes them at the rate, and prints one line of
JSON: for each its seconds from the model's input to the answer, and what it has cost on the way. ``whole`` is no rival:
its call is no call.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import time
from pathlib import Path

from bench.bare import Carried, Head, Part, at_rate, read_result
from bench.cost.rivals.table import RIVALS, Call
from tiercut.model.bundle import Bundle


def part_of(folder: str, cut: int, codec: str) -> Part:
    """The tail, made where it runs."""
    bundle = Bundle.load(Path(folder))
    return Part(bundle, cut, bundle.end, codec)


def take(head: Head, call: Call, count: int, fps: float) -> list[tuple[float, Carried]]:
    """Frames at a rate: seconds to the answer, and what each has carried."""
    taken: list[tuple[float, Carried]] = []
    for _ in itertools.islice(at_rate(fps), count):
        answer = call(head.next())
        now_s = time.time()
        carried = read_result(answer)
        taken.append((now_s - carried.captured_s, carried))
    return taken


def run(name: str, port: int, folder: str, cut: int, codec: str, fps: float) -> None:
    """Take as many frames as each line asks for."""
    bundle = Bundle.load(Path(folder))
    head = Head(bundle, cut, codec)
    made = functools.partial(part_of, folder, cut, codec)
    calling = (
        contextlib.nullcontext(bytes) if name == "whole" else RIVALS[name].load().calling(port, made)
    )
    with calling as call:
        for line in sys.stdin:
            taken = take(head, call, int(line), fps)
            print(json.dumps([[end_to_end_s, c.wall_s, c.cpu_s] for end_to_end_s, c in taken]), flush=True)


def main() -> None:
    """As a server or as a client."""
    what, name, port, folder, cut, codec, fps = sys.argv[1:]
    if what == "serve":
        RIVALS[name].load().serve(int(port), part_of(folder, int(cut), codec))
    else:
        run(name, int(port), folder, int(cut), codec, float(fps))


if __name__ == "__main__":
    main()
