"""Bytes of a connection: packets cut out of what comes, and parts gathered into what goes. No waiting, no loop."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from itertools import islice

import mqtt5

from tiercut.bus.client_tls import RECORD_BYTES
from tiercut.bus.timestamps import STAMP_BYTES, stamp
from tiercut.bus.wire import Malformed, number

#: The buffer for what comes; it grows for a larger packet, and that size is kept up to `_KEPT_BYTES`.
_BUFFER_BYTES = 128 * 1024
_KEPT_BYTES = 2 * 1024 * 1024
#: A packet without a body.
_SHORTEST_BYTES = 2
#: Parts in one call of the kernel (Linux takes 1,024).
_PARTS = 64


class PacketReader:
    """Cuts packets out of a stream.

    Bytes go from the socket to one buffer, which holds the largest packet whole, and from there to what `mqtt5.read`
    makes of it: a payload is copied once.

    Args:
        max_packet_bytes: Larger ones are refused.

    Attributes:
        end: Where in the buffer ends what has come.
        came_unix_s: When the last of it came, by the kernel's own clock; ``None`` where the kernel does not say.
        ready_at: Up to where it must have come before `next` can give a packet.
    """

    def __init__(self, max_packet_bytes: int) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        #: where begins what was not cut out
        self._at = 0
        self.end = 0
        self.came_unix_s: float | None = None
        self.ready_at = _SHORTEST_BYTES

    def receive(self, sock: socket.socket) -> bool:
        """Take what there is, in one call of a plain socket; ``True`` when there may be more.

        Raises:
            OSError: the connection is broken; ``ConnectionResetError`` when the other end has closed it.
        """
        space = self._space()
        try:
            if isinstance(sock, ssl.SSLSocket):
                got = _receive_tls(sock, space)
            else:
                got, told, _, _ = sock.recvmsg_into([space], STAMP_BYTES)
                self.came_unix_s = stamp(told)
            if not got:
                raise ConnectionResetError("closed by the broker")
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        self.end += got
        return got == len(space)

    def next(self) -> memoryview | None:
        """The next packet, valid until more is received; ``None`` while it is not there as a whole.

        Raises:
            Malformed: what came is no packet, or one over the limit.
        """
        at, end = self._at, self.end
        if end < at + _SHORTEST_BYTES:
            self.ready_at = at + _SHORTEST_BYTES
            return None
        length, body = self._buffer[at + 1], at + 2
        if length > 0x7F:  # noqa: PLR2004 - the continuation bit
            length, body = number(self._buffer, at + 1, end)
            if not body:
                self.ready_at = end + 1
                return None
        stop = body + length
        if stop > end:
            if stop - at > self._max_packet_bytes:
                came = f"a packet of {stop - at} bytes, over max_incoming_bytes = {self._max_packet_bytes}"
                raise Malformed(came, mqtt5.DisconnectReasonCode.PACKET_TOO_LARGE)
            self.ready_at = stop
            return None
        self._at, self.ready_at = stop, stop + _SHORTEST_BYTES
        return self._view[at:stop]

    def _space(self) -> memoryview:
        """Where to put more: room for the rest of the packet that has begun."""
        at, end, size = self._at, self.end, len(self._buffer)
        left, wanted = end - at, max(self.ready_at - at, _BUFFER_BYTES)
        if wanted > size or (size > _KEPT_BYTES and size > wanted and not left):
            view = self._view
            self._buffer = bytearray(-(-wanted // _BUFFER_BYTES) * _BUFFER_BYTES)
            self._view = memoryview(self._buffer)
            self._view[:left] = view[at:end]
        elif not left or at + wanted <= size:
            if left:
                return self._view[end:]
        else:
            self._buffer[:left] = self._buffer[at:end]
        self._at, self.end, self.ready_at = 0, left, self.ready_at - at
        return self._view[left:]


def _receive_tls(sock: ssl.SSLSocket, space: memoryview) -> int:
    """As many bytes as there are: TLS gives one record at a time."""
    got = sock.recv_into(space)
    if got:
        with contextlib.suppress(ssl.SSLWantReadError):
            while got < len(space) and (more := sock.recv_into(space[got:])):
                got += more
    return got


class PartWriter:
    """Gathers parts of packets and sends as many at a time as the socket takes.

    Attributes:
        parts: What is not sent.
        marks: Of `mark`, in order: after how many bytes it is reached, and what it is.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        #: bytes that were added, and bytes that were sent, ever
        self._added = self._sent = 0
        self.parts: deque[bytes | memoryview] = deque()
        self.marks: deque[tuple[int, object]] = deque()

    def add(self, *parts: bytes) -> None:
        """Queue up."""
        for part in parts:
            self.parts.append(part)
            self._added += len(part)

    def mark(self, what: object) -> None:
        """Have `written` give this once all that was added so far is sent."""
        self.marks.append((self._added, what))

    def flush(self) -> bool:
        """Send what the socket takes; ``True`` when nothing is left.

        Raises:
            OSError: the connection is broken.
        """
        parts, sock = self.parts, self._sock
        while parts:
            if self._tls:
                self._join_for_one_record()
            try:
                if len(parts) == 1 or self._tls:
                    sent = sock.send(parts[0])
                else:
                    sent = sock.sendmsg(parts if len(parts) <= _PARTS else list(islice(parts, _PARTS)))
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            self._sent += sent
            while parts and sent >= len(parts[0]):
                sent -= len(parts.popleft())
            if sent:
                parts[0] = memoryview(parts[0])[sent:]
        return True

    def written(self) -> list[object]:
        """Marks that are reached; each is given once."""
        reached = []
        while self.marks and self.marks[0][0] <= self._sent:
            reached.append(self.marks.popleft()[1])
        return reached

    def _join_for_one_record(self) -> None:
        """TLS has no call for several parts; what fits in one record goes as one."""
        parts, small, size = self.parts, [], 0
        while parts and size + len(parts[0]) <= RECORD_BYTES:
            small.append(parts.popleft())
            size += len(small[-1])
        if small:
            parts.appendleft(b"".join(small))
