"""Buses that carry messages: over MQTT 5, in one process, or slowed. What the messages say is in `protocol`."""

from __future__ import annotations

from tiercut.bus.base import (
    Bus,
    Delivery,
    Handler,
    ManagedBus,
    Message,
    Posted,
    Properties,
    Sent,
    Subscription,
    Taken,
)

__all__ = [
    "Bus",
    "Delivery",
    "Handler",
    "ManagedBus",
    "Message",
    "Posted",
    "Properties",
    "Sent",
    "Subscription",
    "Taken",
]
