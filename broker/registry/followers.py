"""What follows from the registry beside plans: access rules, Home Assistant's entities, last results."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from broker import home_assistant
from broker.last_results import LastResults
from broker.mosquitto.access_rules import acl, write_acl
from broker.registry.core import Registry
from tiercut.bus import Bus, Delivery, Message
from tiercut.errors import SettingsError
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol.topics import LAST
from tiercut.security.identity_list import LIST_FILE, read_list

log = logging.getLogger(__name__)

#: A broker takes up new rules within this: ``deploy/mosquitto/run.sh`` looks each second.
RELOAD_S = 1.5


class Access:
    """Keeps the site's access rules as its streams are; nodes are told of a stream when the broker knows of it.

    Args:
        path: Where the rules are written.
        identity: The hub's folder, with the list of the site's identities.
        site: The site.
        cloud_here: There is one broker for all.
        home_assistant: First level of Home Assistant's topics.
    """

    def __init__(self, path: Path, *, identity: Path, site: str, cloud_here: bool, home_assistant: str) -> None:
        self._path = path
        self._home_assistant = home_assistant
        #: what the list looked like that the rules were made of
        self._listed: object = None
        self._trouble = ""
        self._list = identity / LIST_FILE
        self._site = site
        self._cloud_here = cloud_here

    def stale(self) -> bool:
        """The list of identities has changed: somebody was given a certificate, or lost the right to one."""
        return self._listed_now() != self._listed

    def _listed_now(self) -> object:
        try:
            found = self._list.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    async def streams_changed(self, registry: Registry) -> None:
        """Write the rules; tried again with the next look where that fails."""
        listed = self._listed_now()
        streams = [settings for settings, _ in registry.streams()]
        try:
            known = read_list(self._list)
            text = acl(
                self._site,
                known.listed,
                streams,
                cloud_here=self._cloud_here,
                cloud_site=known.cloud_site,
                home_assistant=self._home_assistant,
            )
            changed = await asyncio.to_thread(write_acl, self._path, text)
        except (SettingsError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.error("access rules not written, trying on", extra={"reason": str(error)})  # noqa: TRY400 - the sentence says it all
            self._listed = None
            return
        self._listed, self._trouble = listed, ""
        if changed:
            log.info("access rules written", extra={"path": str(self._path), "streams": len(streams)})
            await asyncio.sleep(RELOAD_S)


class Discovery:
    """Announces streams to Home Assistant, and takes that back.

    Args:
        bus: The site's bus.
        site: The site.
        hub: The hub's node id.
        prefix: Home Assistant's discovery prefix.
        on: Whether to announce; else what an earlier hub has announced is taken back.
        refusals: What the broker refuses.
    """

    def __init__(self, bus: Bus, *, site: str, hub: str, prefix: str, on: bool, refusals: Refusals) -> None:
        self._bus = bus
        self._site = site
        self._hub = hub
        self._prefix = prefix
        self._on = on
        self._refusals = refusals
        #: topic → what is retained there
        self._said: dict[str, bytes] = {}

    async def subscribe(self) -> None:
        """Hear what an earlier hub has announced."""
        topics = home_assistant.topic(self._site, "+", prefix=self._prefix)
        await self._refusals.subscribe(self._bus, topics, handler=self._heard)

    def _heard(self, delivery: Delivery) -> None:
        delivery.ack()
        if delivery.retain and delivery.payload:
            self._said.setdefault(delivery.topic, delivery.payload)

    def stale(self) -> bool:
        """Nothing else counts."""
        return False

    async def streams_changed(self, registry: Registry) -> None:
        """Announce those that may run, and no others."""
        wanted: dict[str, bytes] = {}
        for entry in registry.entries.values():
            if self._on and entry.settings is not None and entry.bundle is not None and not entry.refusal:
                said = home_assistant.discovery(
                    self._site, entry.settings, entry.bundle, hub=self._hub, prefix=self._prefix
                )
                wanted.update(said)
        for topic in (self._said.keys() | wanted.keys()) - {t for t in wanted if self._said.get(t) == wanted[t]}:
            try:
                await self._bus.publish(Message(topic, wanted.get(topic, b""), retain=True))
            except REFUSED as error:
                self._refusals.note("discovery", error)
        self._said = wanted


class Last:
    """Tells `LastResults` which streams want it.

    Args:
        results: Copies them.
        bus: The site's bus.
        site: The site.
        refusals: What the broker refuses.
    """

    def __init__(self, results: LastResults, bus: Bus, *, site: str, refusals: Refusals) -> None:
        self._results = results
        self._bus = bus
        self._site = site
        self._refusals = refusals
        self._told = False

    def stale(self) -> bool:
        """Nothing else counts."""
        return False

    async def streams_changed(self, registry: Registry) -> None:
        """Those with ``retain_last``; what an earlier hub has retained of others goes."""
        self._results.want(settings.name for settings, _ in registry.streams() if settings.retain_last)
        if not self._told:
            self._told = True
            await self._refusals.subscribe(self._bus, LAST.filter(site=self._site), handler=self._results.left)
