"""Who reads which sensor: a named device, or a gateway that is there, with no more streams than others have."""

from __future__ import annotations

from collections import Counter

from broker.registry.state import Entry, State
from tiercut.protocol.streams import MAX_STREAMS

#: A gateway may be away for this long before its streams are given to others.
AWAY_S = 2.0
#: How often gateways are balanced: one stream at a time, when one has two more than another.
BALANCE_S = 5.0


def give_out(state: State, now_s: float) -> None:
    """Give each stream that may run a node, where one is online and has room; balance the gateways."""
    running = [entry for entry in state.entries.values() if entry.runnable is not None]
    there = {name for name, reader in state.readers.items() if reader.gateway and reader.online}
    for entry in running:
        if entry.settings is not None and entry.settings.device:
            entry.move(entry.settings.device)
    load = Counter(entry.node for entry in running if entry.node is not None)
    for entry in running:
        if entry.settings is None or entry.settings.device or not _is_homeless(entry, state, now_s):
            continue
        room = [name for name in there if load[name] < MAX_STREAMS]
        if room:
            least = min(room, key=lambda name: (load[name], name))
            entry.move(least)
            load[least] += 1
    if now_s - state.balanced_s >= BALANCE_S and _balance(running, there, load):
        state.balanced_s = now_s


def _is_homeless(entry: Entry, state: State, now_s: float) -> bool:
    reader = None if entry.node is None else state.readers.get(entry.node)
    return reader is None or not reader.gateway or reader.is_away(now_s, AWAY_S)


def _balance(running: list[Entry], there: set[str], load: Counter[str]) -> bool:
    """Move one stream that may be moved, from the gateway with most to the one with fewest; whether one was."""
    movable = [entry for entry in running if entry.node in there and entry.settings and not entry.settings.device]
    if not movable:
        return False
    least = min(there, key=lambda name: (load[name], name))
    moved = max(movable, key=lambda entry: (load[entry.node or ""], entry.name))
    if load[moved.node or ""] - load[least] <= 1:
        return False
    moved.move(least)
    return True
