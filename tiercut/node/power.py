"""Measures what computing on a node draws, with the machine's energy counters (Linux powercap: Intel and AMD RAPL)."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
#: A node that computed for at most the first part of a period was idle; for at least the second, its draw is learned.
IDLE_PART, BUSY_PART = 0.02, 0.1
#: Weight of the newest period in means.
_NEWEST = 0.3


class EnergyCounter:
    """Joules that the processor packages have drawn; the counters wrap around, and need root on most machines.

    Args:
        root: Where the kernel shows them.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        # Packages only: cores and memory within are named intel-rapl:0:1 and so on.
        found = sorted(path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1)
        self._packages = [path for path in found if _read(path / "energy_uj") is not None]
        self._last_uj = {path: _read(path / "energy_uj") or 0 for path in self._packages}
        self._joules = 0.0

    @property
    def exists(self) -> bool:
        """Whether this machine has counters that may be read."""
        return bool(self._packages)

    def joules(self) -> float:
        """Since it was made."""
        for path, last_uj in self._last_uj.items():
            now_uj = _read(path / "energy_uj")
            if now_uj is None:  # taken away (a container's mount): counts no more
                continue
            drawn_uj = now_uj - last_uj
            if drawn_uj < 0:
                drawn_uj += _read(path / "max_energy_range_uj") or 0
            self._joules += max(0, drawn_uj) / 1e6
            self._last_uj[path] = now_uj
        return self._joules


class PowerMeter:
    """Estimates the watts that computing adds, from periods of known energy and work.

    A machine draws ``idle + busy · active``: periods without work give the first, the others then the second.
    """

    def __init__(self) -> None:
        self._idle_watts: float | None = None
        self.active_watts: float | None = None

    def period(self, joules: float, seconds: float, busy: float) -> None:
        """Take a period.

        Args:
            joules: Drawn in it.
            seconds: Its length.
            busy: Part of it in which this node computed.
        """
        if seconds <= 0:
            return
        watts = joules / seconds
        if busy <= IDLE_PART:
            self._idle_watts = _mean(self._idle_watts, watts)
        elif busy >= BUSY_PART and self._idle_watts is not None:
            self.active_watts = _mean(self.active_watts, max(0.0, watts - self._idle_watts) / busy)


def _mean(before: float | None, now: float) -> float:
    return now if before is None else before + _NEWEST * (now - before)


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
