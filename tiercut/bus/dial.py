"""Opening a socket without holding up the loop, and making it fit for large packets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

#: Send and receive buffers of the socket. The kernel doubles and caps them; with the usual Linux cap (208 KiB) they
#: still take a 150 kB packet whole. paho copies the rest of a packet at every partial write.
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024


async def in_daemon_thread(connect: Callable[[], object], *, late: Callable[[], None], name: str) -> None:
    """Run a blocking connect; unlike an executor's, this thread never keeps the process from ending.

    Args:
        connect: Names are looked up, TCP and TLS are shaken hands in it.
        late: Called on the loop when it ends after this call was cancelled.
        name: Of the thread.

    Raises:
        OSError: as of ``connect``.
        ValueError: the same; a host name that IDNA refuses.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | ValueError | None) -> None:
        if done.done():
            late()
        elif error is not None:
            done.set_exception(error)
        else:
            done.set_result(None)

    def run() -> None:
        error: OSError | ValueError | None = None
        try:
            connect()
        except (OSError, ValueError) as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    await done


def tune(sock: socket.socket) -> None:
    """No waiting for more bytes to send (Nagle), and buffers that hold a large packet."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):  # some systems refuse instead of capping; then their default it is
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
