"""What the broker's access rules let an identity do: what its role needs, and no more.

Nothing here disturbs a site: messages go to streams and nodes that do not exist, are never retained, and are empty
where somebody could read them. Mosquitto grants every subscription and checks what it delivers: so a right to read is
tried with a message of our own that must come back, and one that must not be there with what others have retained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tiercut.bus import Bus, Delivery, Message
from tiercut.clock import Clock
from tiercut.declared import encode_json
from tiercut.doctor.findings import Finding, good, problem, warning
from tiercut.errors import BusError
from tiercut.protocol.nodes import ClockProbe
from tiercut.protocol.topics import (
    CLOCK,
    CONTROL,
    EXPLAIN,
    PLAN,
    PREPARE,
    PROFILE,
    RESULT,
    STATUS,
    STREAMS,
    WANTED,
    WORK,
    Topic,
)
from tiercut.security.identity_list import IdentityName

#: No stream or node has these names, and nobody listens to them alone.
NOBODY = "doctor-nobody"
#: How long the broker may take for one answer, and retained messages to arrive.
ANSWER_S, RETAINED_S = 3.0, 0.7

#: role → topics that it must be able to publish on (a device's and a sensor's others carry what is real)
_WRITES: dict[str, tuple[tuple[Topic, str], ...]] = {
    "device": ((CLOCK, "edge"),),
    "edge": ((CLOCK, "edge"), (WORK, "edge")),
    "cloud": ((CLOCK, "edge"),),
    "hub": ((PREPARE, "edge"),),
    "operator": ((CLOCK, "edge"), (WANTED, "")),
}
#: role → topics that it must not publish on
_NO_WRITES: dict[str, tuple[Topic, ...]] = {
    "device": (PLAN, WANTED, CONTROL, PREPARE, STATUS, RESULT),
    "edge": (PLAN, WANTED, CONTROL, PREPARE, STATUS),
    "cloud": (PLAN, WANTED, CONTROL, PREPARE),
    "hub": (WORK, RESULT),
    "operator": (PLAN, PREPARE, STATUS, RESULT, WORK),
    "reader": (PLAN, WANTED, CONTROL, PREPARE, STATUS, RESULT, WORK, CLOCK),
    "sensor": (PLAN, WANTED, CONTROL, PREPARE, STATUS, RESULT, WORK, CLOCK),
}
#: role → topics that it must not read; only retained ones can show it
_NO_READS: dict[str, tuple[Topic, ...]] = {
    "device": (WANTED, CONTROL, EXPLAIN, PROFILE, STREAMS),
    "edge": (WANTED, CONTROL, EXPLAIN, STREAMS),
    "reader": (WANTED, CONTROL, PROFILE, STREAMS),
    "sensor": (STATUS, PLAN, EXPLAIN, WANTED, CONTROL, PROFILE, STREAMS),
}
_FIX = "have the hub rewrite the rules (from identities.json and the streams), or check the broker's acl_file"


async def rights(bus: Bus, identity: IdentityName, *, own_clock: str | None, clock: Clock) -> list[Finding]:
    """What an identity may do on its site's bus.

    Args:
        bus: A connection as this identity.
        identity: Who we are.
        own_clock: The clock topic that is ours to read, and to try reading with; ``None``: there is none.
        clock: The time.
    """
    findings = [await _needed_writes(bus, identity), await _forbidden_writes(bus, identity)]
    if own_clock is not None and identity.role != "hub":
        findings.append(await _loop(bus, own_clock, clock))
    findings.append(await _forbidden_reads(bus, identity))
    return [each for each in findings if each is not None]


async def _needed_writes(bus: Bus, who: IdentityName) -> Finding | None:
    refused = []
    for topic, tier in _WRITES.get(who.role, ()):
        name = _probe_topic(topic, who.site, tier)
        payload = b"" if topic is WANTED else b"{}"
        if not await _may_publish(bus, name, payload):
            refused.append(name)
    if refused:
        return problem("rights", f"'{who}' may not publish on {', '.join(refused)}, but must", _FIX)
    return good("rights", f"'{who}' may publish what role {who.role} needs") if who.role in _WRITES else None


async def _forbidden_writes(bus: Bus, who: IdentityName) -> Finding | None:
    forbidden = _NO_WRITES.get(who.role, ())
    allowed = []
    for topic in forbidden:
        name = _probe_topic(topic, who.site, "cloud" if topic is PREPARE else "edge")
        if await _may_publish(bus, name, b""):
            allowed.append(name)
    if allowed:
        return problem("rights", f"'{who}' may publish on {', '.join(allowed)}, but must not", _FIX)
    return good("rights", f"'{who}' may not publish what others must trust") if forbidden else None


async def _forbidden_reads(bus: Bus, who: IdentityName) -> Finding | None:
    forbidden = _NO_READS.get(who.role, ())
    came: set[str] = set()

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        names = STREAMS.parse(delivery.topic)
        if delivery.retain and (names is None or names["node"] != who.name):
            came.add(delivery.topic)

    await _listen(bus, [topic.filter(site=who.site) for topic in forbidden], hear, RETAINED_S)
    if came:
        return problem("rights", f"'{who}' can read {', '.join(sorted(came)[:5])}, and must not", _FIX)
    return good("rights", f"'{who}' reads nothing that is not for role {who.role}") if forbidden else None


async def _loop(bus: Bus, topic: str, clock: Clock) -> Finding:
    """A question for our own clock that says nowhere to answer: it must come back to us, and nobody acts on it."""
    question = encode_json(ClockProbe(clock_id=clock.id, asked_s=clock.monotonic_s()))
    came = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        if delivery.payload == question:
            came.set()

    subscription = None
    try:
        async with asyncio.timeout(ANSWER_S):
            subscription = await bus.subscribe(topic, handler=hear)
            await bus.publish(Message(topic, question))
            await came.wait()
    except (TimeoutError, BusError):
        return problem("rights", f"a message to ourselves on {topic} does not come back: we may not read there", _FIX)
    finally:
        if subscription is not None:
            await subscription.close()
    return good("rights", "messages for us reach us")


async def _listen(bus: Bus, filters: list[str], hear: Callable[[Delivery], None], seconds: float) -> None:
    subscriptions = []
    try:
        async with asyncio.timeout(ANSWER_S):
            for each in filters:
                try:
                    subscriptions.append(await bus.subscribe(each, handler=hear))
                except BusError:  # refused at once: nothing can be read
                    continue
    except TimeoutError:
        pass
    await asyncio.sleep(seconds if subscriptions else 0.0)
    for subscription in subscriptions:
        await subscription.close()


async def _may_publish(bus: Bus, topic: str, payload: bytes) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            await bus.publish(Message(topic, payload))
    except (BusError, TimeoutError):
        return False
    return True


def _probe_topic(topic: Topic, site: str, tier: str) -> str:
    return topic.of(site=site, tier=tier, node=NOBODY, stream=NOBODY)


def without_identity(host: str) -> Finding:
    """A bus that we use without one of tiercut's certificates."""
    says = "we have no identity on this bus: rights are not checked"
    if host in {"localhost", "127.0.0.1", "::1"}:
        return good("rights", says + " (a plain bus of this machine)")
    return warning("rights", says, "give --identity; for a bus without one: docs/security.md")
