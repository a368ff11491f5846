"""How many MQTT messages each client sends and gets, from Mosquitto's log of all packets.

The log costs the broker time, so it is written in a pass of its own, in which nothing else is measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.cost.counters import Pids, Socket

#: What makes Mosquitto print every packet.
LOG_ALL = ("log_type all", "log_dest stdout", "connection_messages true")

_CONNECTED = re.compile(r"New client connected from \S+?:(\d+) as (\S+) ")
_PACKET = re.compile(r"(Received|Sending) (PUBLISH|PUBACK|PUBREC|PUBREL|PUBCOMP) (?:from|to) (\S+)")


@dataclass(frozen=True, slots=True)
class Messages:
    """Of one process, seen from it: PUBLISH packets out and in, and their acknowledgements."""

    out: int = 0
    into: int = 0
    acks_out: int = 0
    acks_in: int = 0


def clients(log: str) -> dict[int, str]:
    """The client at each of its ports: client ids are the clients' own business, ports can be looked up."""
    return {int(port): client for port, client in _CONNECTED.findall(log)}


def messages(log: str) -> dict[str, Messages]:
    """By client id."""
    counted: Counter[tuple[str, bool, bool]] = Counter()
    for way, packet, client in _PACKET.findall(log):
        counted[client, way == "Received", packet == "PUBLISH"] += 1
    return {
        name: Messages(
            out=counted[name, True, True],
            into=counted[name, False, True],
            acks_out=counted[name, True, False],
            acks_in=counted[name, False, False],
        )
        for name in {client for client, _, _ in counted}
    }


def by_process(pids: Pids, sockets: list[Socket], log: str, since: int) -> dict[str, Messages]:
    """Messages of each process in the log from character ``since`` on; its beginning says who is who."""
    known, counted = clients(log), messages(log[since:])
    named: Mapping[str, set[str]] = {
        name: {known[each.port] for each in sockets if each.pid in group and each.port in known}
        for name, group in pids.items()
    }
    return {name: _sum([counted[each] for each in ids if each in counted]) for name, ids in named.items() if ids}


def _sum(parts: list[Messages]) -> Messages:
    return Messages(
        sum(each.out for each in parts),
        sum(each.into for each in parts),
        sum(each.acks_out for each in parts),
        sum(each.acks_in for each in parts),
    )
