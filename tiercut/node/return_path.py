"""What the cloud made of a node's frames, put on the site's bus by the node that had forwarded them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tiercut.bus import Delivery, Message, Sent
from tiercut.errors import BadMessage, BusError, refuse
from tiercut.names import check_name
from tiercut.node.context import NodeContext
from tiercut.node.refusals import REFUSED
from tiercut.pipeline.peers import Peers
from tiercut.protocol import events
from tiercut.protocol.results import read_outcome
from tiercut.protocol.topics import DROPPED, RESULT, RETURN

_TOPICS = {events.RESULT_TYPE: RESULT, events.DROPPED_TYPE: DROPPED}


class ReturnPath:
    """Republishes outcomes on topics of its own site, with the attributes that an outcome has and no others.

    It remembers nothing of the frames: they may have been forwarded before this node started again.

    Args:
        context: The node's.
        peers: Who is there.
    """

    def __init__(self, context: NodeContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers

    def hear(self, delivery: Delivery) -> None:
        """Put an outcome on the site's bus: the handler of the subscription. It is acknowledged when that has it."""
        if (message := self.read(delivery)) is not None:
            self.publish(message, delivery.ack)

    def publish(self, message: Message, ack: Callable[[], None]) -> None:
        """Put what was read on the site's bus.

        Args:
            message: The outcome.
            ack: Called when the site's broker has it, or refuses it; where the bus was closed before, it comes again.
        """
        try:
            self._context.buses.home.post(message, partial(self._taken, ack))
        except BusError as error:
            self._taken(ack, error)

    def read(self, delivery: Delivery) -> Message | None:
        """The message for the site; ``None`` where it is none, which is counted and acknowledged."""
        try:
            return self._republished(delivery)
        except BadMessage as error:
            self._context.set_aside(error)
            delivery.ack()
            return None

    def _publishes_for(self, device: str) -> bool:
        """Whether an outcome that a device would put in order goes straight to its stream: nobody else would do it."""
        is_own = (self._context.tier, self._context.settings.node) == ("device", device)
        return is_own or self._peers.gone("device", device)

    def _taken(self, ack: Callable[[], None], answer: Sent | Exception) -> None:
        if isinstance(answer, REFUSED):
            self._context.refusals.note("outcome", answer)
        elif not isinstance(answer, Sent):
            return
        ack()

    def _republished(self, delivery: Delivery) -> Message:
        """The message for the site.

        Raises:
            BadEnvelope: it is no outcome, or not of this site.
        """
        kind = dict(delivery.properties).get("type")
        topic = _TOPICS.get(kind or "")
        if topic is None:
            raise refuse("bad_return", expected=f"a type of {list(_TOPICS)}", came=kind)
        site = self._context.settings.site
        stream, _ = read_outcome(delivery.payload)  # the payload goes out under the stream's name, so it must be of it
        attributes = events.read_attributes(delivery.properties, site=site, stream=stream)
        device = dict(delivery.properties).get(events.FOR_DEVICE)
        if device is not None and not self._publishes_for(device):
            check_name(device, field_name=events.FOR_DEVICE)
            to = RETURN.of(site=site, tier="device", node=device)
        else:
            to = topic.of(site=site, stream=stream)
        return Message(
            to,
            delivery.payload,
            properties=attributes,
            content_type=events.CONTENT_TYPE,
        )
