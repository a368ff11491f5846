"""All measurements, one after the other: python -m bench (a few minutes)."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("overhead", "throughput", "memory", "bus", "codecs")


def main() -> int:
    """Run each in a process of its own; returns the first failure's exit status."""
    for name in NAMES:
        print(f"\n== python -m bench.{name}", flush=True)
        ended = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False)
        if ended.returncode:
            return ended.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
