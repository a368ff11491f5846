"""Bytes of a connection: packets cut out of what comes, and parts gathered into what goes. No waiting, no loop."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from itertools import islice

import mqtt5

from tiercut.bus.client_tls import RECORD_BYTES
from tiercut.bus.wire import Malformed, number

#: The buffer for what comes; it grows for a larger packet, and that size is kept up to `_KEPT_BYTES`.
_BUFFER_BYTES = 128 * 1024
_KEPT_BYTES = 2 * 1024 * 1024
#: Parts in one call of the kernel (Linux takes 1,024).
_PARTS = 64


class PacketReader:
    """Cuts packets out of a stream.

    Bytes go from the socket to one buffer, which holds the largest packet whole, and from there to what `mqtt5.read`
    makes of it: a payload is copied once.

    Args:
        max_packet_bytes: Larger ones are refused.
    """

    def __init__(self, max_packet_bytes: int) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        #: what has come and was not cut out: from, to
        self._at = self._end = 0
        #: length of the packet that begins at `_at`, as far as it is known
        self._packet_bytes = 0

    @property
    def empty(self) -> bool:
        """Whether all that came was cut out."""
        return self._at == self._end

    def receive(self, sock: socket.socket) -> bool:
        """Take what there is, in one call of a plain socket; ``True`` when there may be more.

        Raises:
            OSError: the connection is broken; ``ConnectionResetError`` when the other end has closed it.
        """
        space = self._space()
        try:
            got = sock.recv_into(space)
            if not got:
                raise ConnectionResetError("closed by the broker")
            if isinstance(sock, ssl.SSLSocket):  # it gives one record at a time
                with contextlib.suppress(ssl.SSLWantReadError):
                    while got < len(space) and (more := sock.recv_into(space[got:])):
                        got += more
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        self._end += got
        return got == len(space)

    def next(self) -> memoryview | None:
        """The next packet, valid until more is received; ``None`` while it is not there as a whole.

        Raises:
            Malformed: what came is no packet, or one over the limit.
        """
        at, end = self._at, self._end
        if end - at < 2:  # noqa: PLR2004 - the shortest packet
            self._packet_bytes = 0
            return None
        length, body = self._buffer[at + 1], at + 2
        if length > 0x7F:  # noqa: PLR2004 - the continuation bit
            length, body = number(self._buffer, at + 1, end)
        stop = body + length
        if stop - at > self._max_packet_bytes:
            came = f"a packet of {stop - at} bytes, over max_incoming_bytes = {self._max_packet_bytes}"
            raise Malformed(came, mqtt5.DisconnectReasonCode.PACKET_TOO_LARGE)
        if stop > end or not body:
            self._packet_bytes = stop - at if body else 0
            return None
        self._at = stop
        return self._view[at:stop]

    def _space(self) -> memoryview:
        """Where to put more: room for the rest of the packet that has begun."""
        at, end = self._at, self._end
        size, left = len(self._buffer), end - at
        wanted = max(self._packet_bytes, _BUFFER_BYTES)
        if wanted > size or (not left and size > max(_KEPT_BYTES, wanted)):
            view = self._view
            self._buffer = bytearray(-(-wanted // _BUFFER_BYTES) * _BUFFER_BYTES)
            self._view = memoryview(self._buffer)
            self._view[:left] = view[at:end]
        elif left and at + wanted > size:
            self._buffer[:left] = self._buffer[at:end]
        elif left:
            return self._view[end:]
        self._at, self._end = 0, left
        return self._view[left:]


class PartWriter:
    """Gathers parts of packets and sends as many at a time as the socket takes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._parts: deque[bytes | memoryview] = deque()
        #: bytes that were added, and bytes that were sent, ever
        self._added = self._sent = 0
        #: (`_added` when it was set, what for), in order
        self._marks: deque[tuple[int, object]] = deque()

    def add(self, *parts: bytes) -> None:
        """Queue up."""
        for part in parts:
            self._parts.append(part)
            self._added += len(part)

    def mark(self, what: object) -> None:
        """Have `written` give this once all that was added so far is sent."""
        self._marks.append((self._added, what))

    def flush(self) -> bool:
        """Send what the socket takes; ``True`` when nothing is left.

        Raises:
            OSError: the connection is broken.
        """
        parts = self._parts
        while parts:
            try:
                sent = self._send()
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            self._sent += sent
            if self._sent == self._added:
                parts.clear()
                return True
            while sent and sent >= len(parts[0]):
                sent -= len(parts.popleft())
            if sent:
                parts[0] = memoryview(parts[0])[sent:]
        return True

    @property
    def marked(self) -> bool:
        """Whether there are marks."""
        return bool(self._marks)

    def written(self) -> list[object]:
        """Marks that are reached; each is given once."""
        reached = []
        while self._marks and self._marks[0][0] <= self._sent:
            reached.append(self._marks.popleft()[1])
        return reached

    def _send(self) -> int:
        parts = self._parts
        if self._tls:
            self._join_for_one_record()
        if self._tls or len(parts) == 1:
            return self._sock.send(parts[0])
        return self._sock.sendmsg(parts if len(parts) <= _PARTS else list(islice(parts, _PARTS)))

    def _join_for_one_record(self) -> None:
        """TLS has no call for several parts; what fits in one record goes as one."""
        parts, small, size = self._parts, [], 0
        while parts and size + len(parts[0]) <= RECORD_BYTES:
            small.append(parts.popleft())
            size += len(small[-1])
        if small:
            parts.appendleft(b"".join(small))
