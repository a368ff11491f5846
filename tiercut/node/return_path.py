"""What the cloud made of a node's frames, put on the site's bus by the node that had forwarded them."""

from __future__ import annotations

from functools import partial

from tiercut.bus import Delivery, Message, Sent
from tiercut.errors import BadMessage, BusError, refuse
from tiercut.node.context import NodeContext
from tiercut.node.refusals import REFUSED
from tiercut.protocol import events
from tiercut.protocol.results import read_outcome
from tiercut.protocol.topics import DROPPED, RESULT

_TOPICS = {events.RESULT_TYPE: RESULT, events.DROPPED_TYPE: DROPPED}


class ReturnPath:
    """Republishes outcomes on topics of its own site, with the attributes that an outcome has and no others.

    It remembers nothing of the frames: they may have been forwarded before this node started again.
    """

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    def hear(self, delivery: Delivery) -> None:
        """Put an outcome on the site's bus: the handler of the subscription. It is acknowledged when that has it."""
        try:
            self._context.buses.home.post(self._republished(delivery), partial(self._taken, delivery))
        except BadMessage as error:
            self._context.set_aside(error)
            delivery.ack()
        except BusError as error:
            self._taken(delivery, error)

    def _taken(self, delivery: Delivery, answer: Sent | Exception) -> None:
        """The site's broker has taken it or refuses it; where the bus was closed before, it comes again."""
        if isinstance(answer, REFUSED):
            self._context.refusals.note("outcome", answer)
        elif not isinstance(answer, Sent):
            return
        delivery.ack()

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
        return Message(
            topic.of(site=site, stream=stream),
            delivery.payload,
            properties=attributes,
            content_type=events.CONTENT_TYPE,
        )
