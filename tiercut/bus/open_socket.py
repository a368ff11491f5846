"""Opening a socket without holding up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from tiercut.bus.client_tls import newest_tls
from tiercut.bus.settings import MqttSettings
from tiercut.bus.timestamps import ask_for_stamps

Opened = TypeVar("Opened")


def dial(settings: MqttSettings) -> socket.socket:
    """A connected socket that does not block, with TLS if the settings say so; may take a while.

    Raises:
        OSError: nobody answers, or TLS fails.
        ValueError: a host name that IDNA refuses.
        SettingsError: a TLS file is not right.
    """
    sock = socket.create_connection((settings.host, settings.port), timeout=settings.connect_timeout_s)
    try:
        tune(sock)
        ask_for_stamps(sock)
        if settings.tls:
            sock = newest_tls(settings).wrap_socket(sock, server_hostname=settings.host)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


async def in_daemon_thread(connect: Callable[[], Opened], *, late: Callable[[Opened], None], name: str) -> Opened:
    """Run a blocking connect; unlike an executor's, this thread never keeps the process from ending.

    Args:
        connect: Names are looked up, TCP and TLS are shaken hands in it.
        late: Called on the loop with what it gave, when it ends after this call was cancelled.
        name: Of the thread.

    Raises:
        Exception: as of ``connect``.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Opened] = loop.create_future()

    def settle(opened: Opened) -> None:
        if done.done():
            late(opened)
        else:
            done.set_result(opened)

    def fail(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)

    def run() -> None:
        try:
            call = functools.partial(settle, connect())
        except Exception as error:  # noqa: BLE001 - it is the waiting task's, whatever it is
            call = functools.partial(fail, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(call)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


def tune(sock: socket.socket) -> None:
    """No waiting for more bytes to send (Nagle).

    The buffers are the kernel's to size. Set to 4 MiB they made no difference to turns of the loop or CPU of a message
    of 600 kB there and back (Linux 6, loopback, 2026-11-30), and setting them ends Linux' own sizing: at its usual caps
    they would stop at 416 KiB, where it goes up to 4 MiB for sending and 6 MiB for receiving.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
