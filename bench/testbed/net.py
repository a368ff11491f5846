"""Three network namespaces on two shaped links: device ── edge ── cloud.

The device reaches the cloud through the edge's namespace, so both use the same uplink. Links are shaped both ways by a
token bucket (``tc tbf``) of two full packets, so that nothing passes faster than the rate, and with a queue so long
that nothing is dropped. A token bucket has no delay of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tiercut.errors import SettingsError
from tiercut.plan import TIERS, Tier

EDGE_TO_DEVICE, DEVICE = "10.77.1.1", "10.77.1.2"
EDGE_TO_CLOUD, CLOUD = "10.77.2.1", "10.77.2.2"
#: A token bucket's depth: two full Ethernet packets. Timers are fine enough for 100 Mbit/s with it (96 % of it arrive,
#: as at 1.1 Mbit/s; the rest are TCP's and IP's headers).
BURST_BYTES = 3028
#: Bytes that may wait before a link: more than any TCP window.
QUEUE_BYTES = 64 * 1024 * 1024
PROGRAMS = ("ip", "tc", "mosquitto")
_NAMESPACES = Path("/run/netns")
_OURS = re.compile(r"tiercut-(\d+)-(?:device|edge|cloud|trial)")
_CLONE_NEWNET = 0x40000000


def why_not() -> str | None:
    """Why there can be no testbed here, in a sentence; ``None`` when there can."""
    if os.geteuid() != 0:
        return "the testbed makes network namespaces, for which it must be root"
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        return f"the testbed needs {', '.join(missing)}: apt-get install iproute2 mosquitto"
    trial = f"tiercut-{os.getpid()}-trial"
    try:
        _run("ip", "netns", "add", trial)
        try:
            _run("ip", "-n", trial, "link", "set", "lo", "up")
            _run("tc", "-n", trial, "qdisc", "add", "dev", "lo", "root", *_bucket(1.0))
        finally:
            _run("ip", "netns", "del", trial)
    except SettingsError as error:
        return f"network namespaces or shaped links may not be made here: {error.came}"
    return None


def find(name: str) -> str | None:
    """Path of a system program."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


class Net:
    """The namespaces and links of one run; all of it is gone on exit.

    Args:
        lan_mbps: Rate between device and edge.
        uplink_mbps: Rate between edge and cloud at first.
    """

    def __init__(self, *, lan_mbps: float, uplink_mbps: float) -> None:
        self.lan_mbps = lan_mbps
        self.uplink_mbps = uplink_mbps
        self._prefix = f"tiercut-{os.getpid()}"
        self._made: list[str] = []

    def __enter__(self) -> Self:
        sweep()
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def name(self, tier: Tier) -> str:
        """The namespace of a tier."""
        return f"{self._prefix}-{tier}"

    def command(self, tier: Tier) -> list[str]:
        """What to put before a command so that it runs in a tier's namespace."""
        return [find("ip") or "ip", "netns", "exec", self.name(tier)]

    def set_uplink(self, mbps: float) -> None:
        """Change the rate between edge and cloud, both ways, without touching what is in flight."""
        for tier, device in (("edge", "to-cloud"), ("cloud", "to-edge")):
            _run("tc", "-n", f"{self._prefix}-{tier}", "qdisc", "change", "dev", device, "root", *_bucket(mbps))
        self.uplink_mbps = mbps

    @contextlib.contextmanager
    def inside(self, tier: Tier) -> Iterator[None]:
        """This thread (and the threads it starts) is in a tier's namespace: its new sockets are."""
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            enter(_NAMESPACES / self.name(tier))
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def _build(self) -> None:
        for tier in TIERS:
            _run("ip", "netns", "add", self.name(tier))
            self._made.append(self.name(tier))
            _run("ip", "-n", self.name(tier), "link", "set", "lo", "up")
        self._link(("device", "to-edge", DEVICE), ("edge", "to-device", EDGE_TO_DEVICE), self.lan_mbps)
        self._link(("edge", "to-cloud", EDGE_TO_CLOUD), ("cloud", "to-edge", CLOUD), self.uplink_mbps)
        _run("ip", "-n", self.name("device"), "route", "add", "default", "via", EDGE_TO_DEVICE)
        _run("ip", "-n", self.name("cloud"), "route", "add", "default", "via", EDGE_TO_CLOUD)
        _run(*self.command("edge"), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _link(self, one: tuple[Tier, str, str], other: tuple[Tier, str, str], mbps: float) -> None:
        (tier, device, _), (other_tier, other_device, _) = one, other
        ends = ("netns", self.name(tier), "type", "veth", "peer", "name", other_device, "netns", self.name(other_tier))
        _run("ip", "link", "add", device, *ends)
        for at, end, address in (one, other):
            _run("ip", "-n", self.name(at), "addr", "add", f"{address}/24", "dev", end)
            _run("ip", "-n", self.name(at), "link", "set", end, "up")
            _run("tc", "-n", self.name(at), "qdisc", "add", "dev", end, "root", *_bucket(mbps))

    def _remove(self) -> None:
        for name in self._made:
            _delete(name)
        self._made.clear()


def sweep() -> None:
    """Remove what killed runs have left: namespaces that are named after a process that is gone."""
    if _NAMESPACES.is_dir():
        for path in _NAMESPACES.iterdir():
            found = _OURS.fullmatch(path.name)
            if found and not Path("/proc", found[1]).exists():
                _delete(path.name)


def _delete(name: str) -> None:
    """Processes still in a namespace are ended first, or it would live on without a name."""
    with contextlib.suppress(SettingsError, ValueError, OSError):
        for process in _run("ip", "netns", "pids", name).split():
            if int(process) != os.getpid():
                os.kill(int(process), signal.SIGKILL)
    with contextlib.suppress(SettingsError):
        _run("ip", "netns", "del", name)


def enter(namespace: Path) -> None:
    """Move this thread to a namespace.

    Raises:
        SettingsError: it may not.
    """
    with namespace.open("rb") as file:
        _set_namespace(file.fileno())


def _set_namespace(descriptor: int) -> None:
    """``os.setns`` of Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise _refused("setns", os.strerror(ctypes.get_errno()))


def _bucket(mbps: float) -> tuple[str, ...]:
    return ("tbf", "rate", f"{round(mbps * 1e6)}bit", "burst", str(BURST_BYTES), "limit", str(QUEUE_BYTES))


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run([find(program) or program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _refused(" ".join((program, *arguments)), done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout


def _refused(what: str, came: str) -> SettingsError:
    return SettingsError(
        "the testbed's network cannot be made",
        expected=f"'{what}' to work",
        came=came,
        fix="run it as root, where network namespaces are allowed",
    )
