"""Acknowledgements in the order of reception, whatever the order in which the work ends."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

#: The oldest message counts as stuck after this long without progress: well above a frame's time on a slow node.
STUCK_S = 5.0
#: Messages let go within that time, so that a node whose frames take longer does not give up all of them at once.
LET_GO_PER_STUCK_S = 20
#: A reader with less credit than this wants strict order, and gets it.
MIN_CREDIT = 8


class Timer(Protocol):
    """A call that is scheduled for later."""

    def cancel(self) -> None:
        """Cancel it."""
        ...


#: Schedules a call after some seconds.
CallLater = Callable[[float, Callable[[], None]], Timer]


def on_the_loop(seconds: float, call: Callable[[], None]) -> Timer:
    """As `CallLater`, on the running loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


class _Entry:
    """A received message; calling it is the ``ack`` of its only holder.

    Attributes:
        holders: Subscriptions that still work on it.
        since_s: When it came; once it is done, when that was.
        entries: The line it stands in.
    """

    __slots__ = ("_finish", "entries", "holders", "packet_id", "since_s")

    def __init__(
        self,
        packet_id: int,
        holders: int,
        since_s: float,
        entries: deque[_Entry],
        finish: Callable[[_Entry], None],
    ) -> None:
        self.packet_id = packet_id
        self.holders = holders
        self.since_s = since_s
        self.entries = entries
        self._finish = finish

    def __call__(self) -> None:
        """One holder is done with it."""
        if self.holders:
            self.holders -= 1
            if not self.holders:
                self._finish(self)


class _Share:
    """The ``ack`` of one holder of several."""

    __slots__ = ("_entry",)

    def __init__(self, entry: _Entry) -> None:
        self._entry: _Entry | None = entry

    def __call__(self) -> None:
        """This holder is done; only the first call counts."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry()


class AckOrder:
    """Holds a PUBACK back until those of all earlier messages are out.

    MQTT 5 §4.6 [MQTT-4.6.0-2] asks for PUBACKs in the order in which the PUBLISHes came; some brokers (rumqttd)
    disconnect a client that does otherwise. One object serves all connections of a bus: `forget` starts a new
    connection, after which acknowledgements of older messages do nothing (the broker sends those messages again).

    An unfinished message holds back the finished ones behind it, and each takes one of the broker's credits. One that
    only waits for its turn comes to it, as those before it do. But one that is *stuck* must not stop all others: when
    for ``stuck_s`` neither it nor any before it was finished, while finished ones wait behind it and half of the credit
    is used up, it is acknowledged early. It is lost if this process then dies. So at most half as many as there is
    credit may be in that state at once, over all connections; beyond that the broker waits until one is finished.

    A reader thus holds at most one and a half times its credit, where the broker keeps to that (measured: Mosquitto
    2.0.21 does; with 2.0.11 each PUBACK lets up to a whole credit follow). Half of the credit, because a broker may
    also give less than was offered and not say so: EMQX sends 32 by default.

    Args:
        send: Send the PUBACK of a packet identifier.
        credit: The Receive Maximum.
        counters: Counts ``acknowledged_early``, and in ``receive_maximum_exceeded`` messages beyond the credit.
        monotonic_s: The time.
        stuck_s: See above.
        call_later: Has the head looked at again when it may be stuck; called only while there is need.
    """

    def __init__(
        self,
        send: Callable[[int], None],
        *,
        credit: int,
        counters: Counter[str],
        monotonic_s: Callable[[], float],
        stuck_s: float = STUCK_S,
        call_later: CallLater = on_the_loop,
    ) -> None:
        self._send = send
        self._credit = credit
        self._counters = counters
        self._monotonic_s = monotonic_s
        self._stuck_s = stuck_s
        self._pause_s = stuck_s / LET_GO_PER_STUCK_S
        self._call_later = call_later
        #: messages that may wait before the head is let go, and let go and unfinished ones that there may be
        self._patience: float = math.inf if credit < MIN_CREDIT else credit // 2
        self._early_limit = credit // 2
        #: in order of reception; the head is never done
        self._entries: deque[_Entry] = deque()
        #: how many of them are done
        self._finished = 0
        #: when any that came before the head was last finished
        self._moved_s = -math.inf
        #: acknowledged and not done, of this connection and of earlier ones
        self._early: set[_Entry] = set()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def early_unfinished(self) -> int:
        """Messages that were acknowledged early and are not finished: what dies with this process."""
        return len(self._early)

    def take(self, packet_id: int, holders: int) -> Sequence[Callable[[], None]]:
        """A message arrived: one ``ack`` for each of its holders; nobody holding it acknowledges at once."""
        entries = self._entries
        entry = _Entry(packet_id, holders, self._monotonic_s(), entries, self._finish)
        entries.append(entry)
        if len(entries) > self._credit:
            self._counters["receive_maximum_exceeded"] += 1
        if not holders:
            self._finished += 1
            self._drain(entries)
        if len(entries) >= self._patience:
            self._look()
        return [entry] if holders == 1 else [_Share(entry) for _ in range(holders)]

    def forget(self) -> None:
        """The connection is gone, and with it all that was to be acknowledged on it."""
        self._entries = deque()
        self._finished = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self, entry: _Entry) -> None:
        entry.since_s = self._monotonic_s()
        entries = self._entries
        if entry in self._early:
            self._early.discard(entry)
            self._moved_s = entry.since_s
        elif entry.entries is entries:
            self._finished += 1
            if entries[0] is entry:
                self._drain(entries)
        if len(self._entries) >= self._patience:
            self._look()

    def _drain(self, entries: deque[_Entry]) -> None:
        # `entries` is compared at each turn: sending may find that the connection is gone.
        while entries is self._entries and entries and entries[0].holders == 0:
            entry = entries.popleft()
            self._finished -= 1
            self._moved_s = max(self._moved_s, entry.since_s)
            self._send(entry.packet_id)

    def _look(self) -> None:
        """Let the head go if it is stuck; if it may come to that, look again then."""
        now_s = self._monotonic_s()
        due_s = self._due_s()
        if due_s is not None and due_s <= now_s:
            self._let_go(now_s)
            due_s = self._due_s()
        if due_s is not None and self._timer is None:
            self._timer = self._call_later(max(0.0, due_s - now_s), self._look_again)

    def _due_s(self) -> float | None:
        """When the head may be let go, if nothing changes; ``None`` while nothing asks for it, or it may not be."""
        entries = self._entries
        if len(entries) < self._patience or not self._finished or len(self._early) >= self._early_limit:
            return None
        if not entries[0].holders:  # within `_drain`, when sending made another message arrive or end
            return None
        return max(entries[0].since_s, self._moved_s) + self._stuck_s

    def _let_go(self, now_s: float) -> None:
        entries = self._entries
        entry = entries.popleft()
        self._early.add(entry)
        self._counters["acknowledged_early"] += 1
        self._moved_s = max(self._moved_s, now_s - self._stuck_s + self._pause_s)
        self._send(entry.packet_id)
        self._drain(entries)

    def _look_again(self) -> None:
        self._timer = None
        self._look()
