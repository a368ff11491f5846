"""What a node is put together from: parts that subscribe to what they need, and name their tasks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

#: Named tasks, started when all parts have subscribed.
Tasks = list[tuple[str, Callable[[], Coroutine[None, None, None]]]]


class Part:
    """One concern of a node."""

    async def subscribe(self) -> None:
        """Listen at home to what the part needs; only then does the node say that it is online."""

    def tasks(self) -> Tasks:
        """What runs until the node stops."""
        return []
