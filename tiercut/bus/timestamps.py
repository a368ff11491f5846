"""When the kernel had what is read from a socket (Linux's SO_TIMESTAMPNS, on TCP without TLS).

A message has come when the kernel has it, though this process may be busy then, or others have the processor: what it
waits from there on is no fault of the line. It costs 2 µs a read.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Iterable

#: Python does not name it.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("ll")
#: Room for it in what `socket.recvmsg_into` says beside the bytes.
STAMP_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if sys.platform == "linux" else 0
#: The wall clock may be set between a stamp and its reading: nothing waits this long.
MAX_AGE_S = 5.0


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the kernel say when bytes came, where it can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def stamp(told: Iterable[tuple[int, int, bytes]]) -> float | None:
    """When the kernel had the last bytes of a read, on the wall clock; ``None`` where it has not said so.

    Args:
        told: What it says beside the bytes.
    """
    for level, kind, data in told:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return None


def age_s(stamped_unix_s: float | None) -> float:
    """How long ago that was; 0 where it is unknown, or the wall clock was set meanwhile."""
    if stamped_unix_s is None:
        return 0.0
    age = time.time() - stamped_unix_s
    return age if 0.0 <= age <= MAX_AGE_S else 0.0
