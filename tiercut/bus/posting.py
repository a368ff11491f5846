"""Messages that were posted, and waiting for their answers."""

from __future__ import annotations

import asyncio
import logging

from tiercut.bus.base import Bus, Message, Sent, Taken

log = logging.getLogger(__name__)


class Pending:
    """A posted message until its answer: a `tiercut.bus.Posted`.

    Attributes:
        taken: Takes the answer; ``None`` once nobody waits for one.
    """

    __slots__ = ("message", "taken")

    def __init__(self, message: Message, taken: Taken) -> None:
        self.message = message
        self.taken: Taken | None = taken

    @property
    def done(self) -> bool:
        """Whether nobody waits for it any longer: it has ended, or was withdrawn."""
        return self.taken is None

    def cancel(self) -> None:
        """See `tiercut.bus.Posted.cancel`."""
        self.taken = None

    def end(self, answer: Sent | Exception) -> None:
        """The broker has taken it, or it will not be taken; only the first call counts."""
        taken, self.taken = self.taken, None
        if taken is None:
            return
        try:
            taken(answer)
        except Exception:  # a fault of the poster's must not end the connection
            log.exception("the answer to a message was not handled", extra={"topic": self.message.topic})


class Answer:
    """``taken`` of `tiercut.bus.Bus.post` that can be awaited.

    Attributes:
        future: Resolved by the answer.
    """

    def __init__(self) -> None:
        self.future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()

    def __call__(self, answer: Sent | Exception) -> None:
        """The broker has answered."""
        if self.future.done():  # its awaiter was cancelled
            return
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
            self.future.exception()  # its awaiter may be cancelled now: no warning about that
        else:
            self.future.set_result(answer)


async def publish_by_post(bus: Bus, message: Message) -> Sent:
    """Post, and wait for the answer; a call that is cancelled withdraws its message."""
    answer = Answer()
    posted = bus.post(message, answer)
    try:
        return await answer.future
    except asyncio.CancelledError:
        posted.cancel()
        raise
