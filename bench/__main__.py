"""All measurements, one after the other: python -m bench (a few minutes); one alone: python -m bench NAME ….

`bench.testbed` and `bench.deadlines` are not among all: they take half an hour and more, the one needs root, the other
a bundle and labelled frames.
"""

from __future__ import annotations

import runpy
import subprocess
import sys

NAMES = ("cost", "overhead", "throughput", "memory", "cold_start", "bus", "tls", "codecs", "envelope")


def main() -> int:
    """Run each in a process of its own, or one in this; returns the first failure's exit status."""
    if len(sys.argv) > 1:
        del sys.argv[0]
        runpy.run_module(f"bench.{sys.argv[0]}", run_name="__main__", alter_sys=True)
        return 0
    for name in NAMES:
        print(f"\n== python -m bench.{name}", flush=True)
        ended = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False)
        if ended.returncode:
            return ended.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
