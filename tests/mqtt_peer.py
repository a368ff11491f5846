"""A broker that a test plays by hand, one packet at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import mqtt5

from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock

Kind = TypeVar("Kind")


class Peer:
    """The broker's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def take(self, kind: type[Kind]) -> Kind:
        """The next packet, which must be of this kind."""
        packet, _ = mqtt5.read(memoryview(await self.take_bytes()))
        assert isinstance(packet, kind), packet
        return packet

    async def take_bytes(self) -> bytes:
        """The next packet as it came; nothing when the client has closed."""
        try:
            head = await self._reader.readexactly(2)
        except asyncio.IncompleteReadError:
            return b""
        length, shift = head[1] & 0x7F, 7
        while head[-1] > 0x7F:
            head += await self._reader.readexactly(1)
            length |= (head[-1] & 0x7F) << shift
            shift += 7
        return head + await self._reader.readexactly(length)

    def send(self, *packets: Any) -> None:
        """Send packets, or bytes."""
        self._writer.write(b"".join(each if isinstance(each, bytes) else each.write() for each in packets))

    async def accept(self, **more: Any) -> mqtt5.ConnectPacket:
        """Take CONNECT, and say yes."""
        connect = await self.take(mqtt5.ConnectPacket)
        self.send(mqtt5.ConnAckPacket(**more))
        return connect

    async def grant(self) -> None:
        """Take SUBSCRIBE, and say yes."""
        asked = await self.take(mqtt5.SubscribePacket)
        self.send(mqtt5.SubAckPacket(asked.packet_id, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]))

    def cut(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()


class Peers:
    """Connections as they come."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Peer] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._came.put_nowait(Peer(reader, writer))

    async def next(self) -> Peer:
        """The next connection."""
        return await self._came.get()

    def end(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def played_broker(**settings: Any) -> AsyncIterator[tuple[MqttBus, Peers]]:
    """A bus that is not entered yet, and the broker it connects to."""
    peers = Peers()
    server = await asyncio.start_server(peers.serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        fast = {"backoff_min_s": 0.001, "backoff_max_s": 0.01} | settings
        yield MqttBus(MqttSettings(url=f"mqtt://127.0.0.1:{port}", **fast), clock=SystemClock(), wait=True), peers
    finally:
        server.close()
        peers.end()
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(
    *, answer: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[MqttBus, Peers, Peer]]:
    """A bus on a broker that has said yes."""
    async with played_broker(**settings) as (bus, peers):
        entering = asyncio.create_task(bus.__aenter__())
        peer = await peers.next()
        await peer.accept(**answer or {})
        await entering
        try:
            yield bus, peers, peer
        finally:
            await bus.close()
