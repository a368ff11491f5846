"""What a role needs of a bus, whatever carries it: MQTT (`mqtt`), one process (`memory`), an `emulated_link`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from msgspec import Struct

#: User properties of MQTT 5: pairs, order kept, names may repeat.
Properties = Sequence[tuple[str, str]]


class Message(Struct, frozen=True, gc=False):
    """A message to publish.

    Attributes:
        topic: Where to: at least one character, no wildcard.
        payload: At most `Bus.max_payload_bytes`.
        qos: 1, or 0 for what may be lost.
        retain: The broker keeps it for who subscribes later; an empty payload takes back what it keeps.
        expiry_s: Seconds after which the broker forgets it; ``None``: never.
        properties: User properties (MQTT 5 §3.3.2.3.7).
        content_type: What the payload is, for readers.
        response_topic: Where an answer is to go.
        correlation: Tells the asker which question an answer is to.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    properties: Properties = ()
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None


class Sent(Struct, frozen=True, gc=False):
    """A message that the bus has taken.

    Attributes:
        seconds: From when it was sent until the broker's acknowledgement, waiting for credit excluded.
        payload_bytes: Size of the payload.
    """

    seconds: float
    payload_bytes: int


def nothing() -> None:
    """Acknowledge a message that nobody waits to hear of: there is nothing to do."""


class Delivery(Struct, frozen=True):
    """A message that arrived, to be acknowledged when the work on it is done.

    Attributes:
        received_s: ``Clock.monotonic_s`` when its last byte came.
        duplicate: The broker says it may have sent it before.
        ack: Tell the broker that it may forget the message. Idempotent, cheap, callable in any order and after a
            reconnect (then it does nothing): the bus puts acknowledgements in the order the protocol asks for.
    """

    topic: str
    payload: bytes
    received_s: float
    retain: bool = False
    duplicate: bool = False
    properties: Properties = ()
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    ack: Callable[[], None] = nothing


#: Takes a delivery on the event loop.
Handler = Callable[[Delivery], None]
#: Takes the end of a post: the broker has the message, or why it has not. Must not raise.
Taken = Callable[[Sent | Exception], None]


class Posted(Protocol):
    """A message that was posted."""

    def cancel(self) -> None:
        """Withdraw it, unless the broker may have it already; either way its ``taken`` is not called any more."""
        ...


class Subscription(Protocol):
    """Messages of one topic filter, in order of arrival."""

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Iterate until the subscription or the bus is closed."""
        ...

    async def close(self) -> None:
        """Unsubscribe; the iteration ends after what has already arrived."""
        ...


class Bus(Protocol):
    """A connection to one broker. Open it with ``async with``; it reconnects by itself until it is closed."""

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        ...

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload the broker takes with the longest topic and properties we use."""
        ...

    @property
    def emulated(self) -> str | None:
        """A sentence about the emulated link in front of this bus, ``None`` when the link is the real one."""
        ...

    def post(self, message: Message, taken: Taken) -> Posted:
        """Queue for sending, without waiting: `publish` for those who do not want a task for each message.

        ``taken`` is called once, on the event loop and never from within this call, when the broker has answered, with
        ``Sent``, ``PublishRefused`` or, when the bus was closed before, ``BusError``. Order, credit and reconnects are
        as of `publish`.

        Raises:
            PacketTooLarge: its payload is over ``max_payload_bytes``.
            BusError: the bus is closed.
        """
        ...

    def soon(self, call: Callable[[], None]) -> None:
        """Have something done on the event loop, after the messages that have come by now were handed to handlers."""
        ...

    async def publish(self, message: Message) -> Sent:
        """Send, and wait until the broker has taken it (QoS 0: until it is written to the socket).

        Calls are sent in the order in which they are made. A call waits while too many bytes or messages are in
        flight. Through a lost connection it goes on waiting and is sent again after the reconnect.

        Raises:
            PacketTooLarge: its payload is over ``max_payload_bytes``.
            PublishRefused: the broker answered with an error code.
            BusError: the bus was closed before the message was taken.
        """
        ...

    async def subscribe(self, topic_filter: str, *, qos: int = 1, handler: Handler | None = None) -> Subscription:
        """Subscribe, and wait until the broker has agreed. Renewed by itself after a reconnect.

        A ``handler`` is called with each delivery at once, on the event loop, where 0.1 ms per message counts; it must
        neither block nor raise. Without one, iterate over the subscription.

        Raises:
            BrokerRefused: the broker does not allow it.
        """
        ...

    async def announce(self, topic: str, payload: bytes, *, properties: Properties = ()) -> None:
        """Publish retained now and again after every reconnect: presence, which the will takes back."""
        ...


class ManagedBus(Bus, Protocol):
    """A bus for the code that opens and closes it; every bus of this package is one."""

    @property
    def counters(self) -> Counter[str]:
        """Messages, bytes, reconnects and ``acknowledged_early`` so far, and ``dropped_<reason>``."""
        ...

    @property
    def early_unfinished(self) -> int:
        """Messages acknowledged before their work was done, and not done yet: lost if the process dies now.

        The broker keeps all others that are not done. See `tiercut.bus.acks`.
        """
        ...

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerUnreachable: nothing answers.
            BrokerRefused: the broker refuses.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        ...

    async def close(self, *, goodbye: tuple[str, bytes] | None = None) -> None:
        """Publish ``goodbye`` (topic, payload; else the will) retained, and disconnect; idempotent.

        Publishes in flight raise ``BusError``; subscriptions end after what has arrived.
        """
        ...
