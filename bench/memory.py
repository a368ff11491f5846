"""Resident memory of each program of a site that runs EfficientNet-Lite0, and whether torch is in a process.

    python -m bench.memory

Resident is what the kernel counts for a process, libraries shared with others included; private is without those.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import psutil

from bench.machine import compile_programs, machine
from bench.site import model, site, take
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut

FRAMES = 200
LIMIT_MB = 90


async def measure(bundle: Bundle) -> None:
    """Print resident memory per process after some frames."""
    first, second = resolve_cut(bundle, "20%"), resolve_cut(bundle, "60%")
    stream = {"fps": 50, "frames": FRAMES}
    with tempfile.TemporaryDirectory() as folder:
        async with site(Path(folder), bundle, first=first, second=second, codec="int8+zstd", stream=stream) as (
            processes,
            arriving,
        ):
            await take(arriving, FRAMES)
            for name, what in {"d": "device", "e": "edge", "c": "cloud", "hub": "hub"}.items():
                process = psutil.Process(processes.pid(name))
                used = process.memory_full_info()
                torch = any("torch" in mapped.path for mapped in process.memory_maps())
                limit = f"   (to reach: {LIMIT_MB} MB)" if name == "d" else ""
                sizes = f"{used.rss / 1e6:6.1f} MB resident, {used.uss / 1e6:6.1f} MB private"
                print(f"{what:<7} {sizes}, torch loaded: {torch}{limit}")


def main() -> None:
    """Measure and print."""
    compile_programs()
    bundle = model()
    print(machine())
    asyncio.run(measure(bundle))


if __name__ == "__main__":
    main()
