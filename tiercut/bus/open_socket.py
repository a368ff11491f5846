"""Opening a socket without holding up the loop, and making it fit for large packets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tiercut.bus.server_name import check_server

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Send and receive buffers of the socket. The kernel doubles and caps them; with the usual Linux cap (208 KiB) they
#: still take a 150 kB packet whole. paho copies the rest of a packet at every partial write.
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
#: What a TLS record carries at most (RFC 8446 §5.1).
_RECORD_BYTES = 16 * 1024


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


class WholeSocket(ssl.SSLSocket):
    """Sends and receives as much as there is, as a plain socket does, and checks the server's name.

    OpenSSL hands over one record (16 KiB) per call, and before each of them paho copies the rest of its packet: 0.8 MB
    of copies for a packet of 150 kB, 2 GB for one of 8 MB.
    """

    def do_handshake(self, block: bool = False) -> None:
        """As `ssl.SSLSocket.do_handshake`; nothing is sent to a server of another name."""
        super().do_handshake(block)
        check_server(self.context, self.getpeercert())

    def send(self, data: Buffer, flags: int = 0) -> int:
        """As `ssl.SSLSocket.send`, record after record."""
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                sent += super().send(view[sent:], flags)
        except ssl.SSLWantWriteError:
            if not sent:
                raise
        return sent

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As `ssl.SSLSocket.recv`, record after record: memory is taken for all that is asked for, so one at a time."""
        data = super().recv(min(buflen, _RECORD_BYTES), flags)
        if len(data) == buflen or not data:
            return data
        parts, missing = [data], buflen - len(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            while missing and (data := super().recv(min(missing, _RECORD_BYTES), flags)):
                parts.append(data)
                missing -= len(data)
        return b"".join(parts)


def tune(sock: socket.socket) -> None:
    """No waiting for more bytes to send (Nagle), and buffers that hold a large packet."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):  # some systems refuse instead of capping; then their default it is
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
