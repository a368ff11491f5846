"""Which subscription gets which message, and what the broker has been told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from tiercut.bus.inbox import Inbox
from tiercut.bus.packets import good_topic

#: Topics whose receivers are cached; hostile topics must not fill the memory.
_CACHED_TOPICS = 1024


def filters_overlap(one: str, other: str) -> bool:
    """Whether some topic matches both filters (MQTT 5 §4.7.1)."""
    first, second = one.split("/"), other.split("/")
    for a, b in zip(first, second, strict=False):
        if "#" in (a, b):
            return True
        if a != b and "+" not in (a, b):
            return False
    if len(first) == len(second):
        return True
    longer, shorter = (first, second) if len(first) > len(second) else (second, first)
    return longer[len(shorter)] == "#"  # "a/#" matches "a" too


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter takes a topic; a wildcard in front takes none that begin with '$' (MQTT 5 §4.7.2)."""
    if topic_filter == topic:
        return True
    levels, names = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and levels[0] in {"+", "#"}:
        return False
    for index, level in enumerate(levels):
        if level == "#":
            return True
        if index == len(names) or level not in ("+", names[index]):
            return False
    return len(levels) == len(names)


@dataclass(slots=True, eq=False)
class Route:
    """One topic filter at the broker, for all subscriptions to it.

    Attributes:
        identifier: Subscription Identifier, given only to filters that overlap with another one.
        confirmed: The broker has agreed on this connection's session.
        waiters: Calls of ``subscribe`` that wait for SUBACK.
    """

    topic_filter: str
    qos: int
    identifier: int | None = None
    confirmed: bool = False
    inboxes: list[Inbox] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class Routes:
    """All filters of a bus.

    Where filters overlap, a broker may send a message once, or once for each filter (MQTT 5 §3.3.4). Subscription
    Identifiers tell these copies apart: each copy goes to the filters it names. Filters that overlap with none carry
    no identifier: then one look in a dictionary finds who gets a message.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._identifiers = count(1)
        #: topic → inboxes, for messages without identifier; emptied at each change
        self._matches: dict[str, list[Inbox]] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def get(self, topic_filter: str) -> Route | None:
        """The route of this very filter."""
        return self._routes.get(topic_filter)

    def add(self, inbox: Inbox, *, qos: int) -> list[Route]:
        """Add a subscription; returns the routes to tell the broker of, its own first."""
        self._matches.clear()
        route = self._routes.get(inbox.topic_filter)
        if route is not None:
            route.qos = max(route.qos, qos)
            route.inboxes.append(inbox)
            return [route]
        route = Route(inbox.topic_filter, qos, inboxes=[inbox])
        overlapping = [other for other in self if filters_overlap(other.topic_filter, inbox.topic_filter)]
        self._routes[inbox.topic_filter] = route
        if not overlapping:
            return [route]
        changed = [route, *(other for other in overlapping if other.identifier is None)]
        for each in changed:
            each.identifier = next(self._identifiers)
        return changed

    def remove(self, inbox: Inbox) -> bool:
        """Take a subscription away; ``True`` when it was the last one of its filter."""
        self._matches.clear()
        route = self._routes.get(inbox.topic_filter)
        if route is None or inbox not in route.inboxes:
            return False
        route.inboxes.remove(inbox)
        if not route.inboxes:
            del self._routes[inbox.topic_filter]
        return not route.inboxes

    def inboxes(self, topic: str, identifiers: Sequence[int] = ()) -> list[Inbox]:
        """Who gets a message: the filters it names, else all that match its topic; nobody, if that is no topic."""
        if identifiers:
            if not good_topic(topic):
                return []
            return [inbox for route in self if route.identifier in identifiers for inbox in route.inboxes]
        found = self._matches.get(topic)
        if found is None:
            if len(self._matches) >= _CACHED_TOPICS:
                self._matches.clear()
            routes = [route for route in self if topic_matches(route.topic_filter, topic)] if good_topic(topic) else []
            found = [inbox for route in routes for inbox in route.inboxes]
            self._matches[topic] = found
        return found
