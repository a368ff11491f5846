"""Who reads which sensor: a named device, or a gateway that is there, with no more streams than others have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.registry.entries import Entry, Reader
from tiercut.protocol.streams import MAX_STREAMS

#: A gateway may be away for so long before its streams are given to others.
AWAY_S = 2.0
#: Gateways are balanced so often: one stream at a time, when one has two more than another.
BALANCE_S = 5.0


@dataclass(slots=True)
class Placing:
    """Gives out streams, and moves them where a gateway has gone or another has come.

    Attributes:
        readers: Nodes of the device tier by id.
    """

    readers: Mapping[str, Reader]
    _balanced_s: float = float("-inf")

    def give_out(self, entries: Iterable[Entry], now_s: float) -> None:
        """Give each stream that may run a node, where one is there and has room."""
        running = [entry for entry in entries if entry.runnable is not None]
        there = {name for name, reader in self.readers.items() if reader.gateway and reader.online}
        for entry in running:
            if entry.settings is not None and entry.settings.device:
                move(entry, entry.settings.device)
        load = Counter(entry.node for entry in running if entry.node is not None)
        for entry in running:
            if entry.settings is None or entry.settings.device or not self._homeless(entry, now_s):
                continue
            room = [name for name in there if load[name] < MAX_STREAMS]
            if room:
                least = min(room, key=lambda name: (load[name], name))
                move(entry, least)
                load[least] += 1
        self._balance(running, there, load, now_s)

    def _homeless(self, entry: Entry, now_s: float) -> bool:
        reader = None if entry.node is None else self.readers.get(entry.node)
        return reader is None or not reader.gateway or reader.is_away(now_s, AWAY_S)

    def _balance(self, running: list[Entry], there: set[str], load: Counter[str], now_s: float) -> None:
        """Move one stream that may be moved, from the gateway with most to the one with fewest."""
        movable = [entry for entry in running if entry.node in there and entry.settings and not entry.settings.device]
        if not movable or now_s - self._balanced_s < BALANCE_S:
            return
        least = min(there, key=lambda name: (load[name], name))
        moved = max(movable, key=lambda entry: (load[entry.node or ""], entry.name))
        if load[moved.node or ""] - load[least] > 1:
            self._balanced_s = now_s
            move(moved, least)


def move(entry: Entry, node: str) -> None:
    """Another node reads its sensor from now on."""
    if entry.node != node:
        entry.node, entry.report, entry.rival = node, None, None
