"""What the registry answers when it is asked: values that nobody can change it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import Assignment, StreamStatus


class RunningStream(NamedTuple):
    """A stream that may run; a tuple, as many are made and compared at each look.

    Attributes:
        settings: Its settings.
        node: Who reads its sensor; ``None`` where nobody does yet.
        bundle: Its model.
    """

    settings: StreamSettings
    node: str | None
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class KnownStream:
    """A stream that is wanted, whether it runs or not.

    Attributes:
        settings: Its settings; ``None`` where they cannot be read.
        status: As it was last published; ``None`` before.
        fixed: It is from the hub's settings.
    """

    settings: StreamSettings | None
    status: StreamStatus | None
    fixed: bool


@dataclass(frozen=True, slots=True)
class Retained:
    """What the registry wants retained on the site's bus.

    Attributes:
        wanted: Stream → its settings as they came; streams of the hub's own settings are not retained.
        statuses: Streams whose status was published.
        told: Node → what it is to read, where it was told.
    """

    wanted: Mapping[str, bytes]
    statuses: frozenset[str]
    told: Mapping[str, tuple[Assignment, ...]]
