"""Which streams a device is to have: those of its own settings, and those that the hub assigns to it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from tiercut.clock import Clock
from tiercut.declared import iso_time
from tiercut.errors import BadMessage
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport, Trouble, decode_assigned

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stream that the device is to have.

    Attributes:
        settings: Its settings.
        model: Identity of its model; empty where its name alone says.
    """

    settings: StreamSettings
    model: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stream that the device was to have, whose settings it cannot read.

    Attributes:
        name: Its name.
        why: What is wrong with them.
    """

    name: str
    why: str


class Assignments:
    """What is wanted. Of two streams with one name the device's own stays, and reports the other.

    Args:
        node: The device's id.
        clock: Its clock.
        counters: Counts ``streams_refused``, ``bad.<reason>``.
    """

    def __init__(self, *, node: str, clock: Clock, counters: Counter[str]) -> None:
        self._node = node
        self._clock = clock
        self._counters = counters
        self._own: dict[str, Wanted] = {}
        self._assigned: dict[str, Wanted | Unreadable] = {}
        #: those of the assigned that have the name of an own one, and since when
        self._rivals: dict[str, float] = {}

    def own(self, settings: StreamSettings) -> None:
        """A stream of the device's own settings."""
        self._own[settings.name] = Wanted(settings)

    def assign(self, payload: bytes) -> bool:
        """Take in the streams that the hub assigns; false where they cannot be read."""
        try:
            good, bad = decode_assigned(payload)
        except BadMessage as error:
            self._counters[f"bad.{error.reason}"] += 1
            log.error("assignment refused", extra={"reason": str(error)})  # noqa: TRY400 - the sentence says it all
            return False
        before, self._assigned = self._assigned, {name: Unreadable(name, why) for name, why in bad.items()}
        self._assigned |= {each.settings.name: Wanted(each.settings, each.model) for each in good}
        for each in self._assigned.values():
            if isinstance(each, Unreadable) and before.get(each.name) != each:
                self._counters["streams_refused"] += 1
                log.error("stream refused", extra={"stream": each.name, "reason": each.why})
        self._note_rivals()
        return True

    def _note_rivals(self) -> None:
        rivals = self._assigned.keys() & self._own.keys()
        for name in rivals - self._rivals.keys():
            self._counters["streams_refused"] += 1
            log.error("two streams with one name: the device's own stays", extra={"stream": name})
        now_s = self._clock.unix_s()
        self._rivals = {name: self._rivals.get(name, now_s) for name in rivals}

    @property
    def wanted(self) -> Mapping[str, Wanted | Unreadable]:
        """All that are to run, by name."""
        return self._assigned | self._own

    def with_rival(self, report: SourceReport) -> SourceReport:
        """A report that also says where the hub assigns another stream with the name of one of the device's own."""
        since_unix_s = self._rivals.get(report.stream)
        if since_unix_s is None:
            return report
        said = (
            f"there are two streams '{report.stream}': expected one of that name, got one in the settings of "
            f"'{self._node}' and another assigned by the hub; the device's own stays: remove or rename one of them"
        )
        return structs.replace(
            report, trouble=(Trouble("two_streams", said, 1, iso_time(since_unix_s)), *report.trouble)
        )
