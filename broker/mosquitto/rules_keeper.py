"""Keeps Mosquitto's access rules in step with the site's streams and identities."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from broker.mosquitto.access_rules import acl, write_acl
from broker.registry.answers import RunningStream
from tiercut.errors import SettingsError
from tiercut.security.identity_list import LIST_FILE, read_list

log = logging.getLogger(__name__)

#: A broker uses new rules within this time: ``deploy/mosquitto/run.sh`` looks every second.
RELOAD_S = 1.5


class RulesKeeper:
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
        """The list of identities has changed: a certificate was issued or removed."""
        return self._listed_now() != self._listed

    def _listed_now(self) -> object:
        try:
            found = self._list.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    async def streams_changed(self, streams: Sequence[RunningStream]) -> None:
        """Write the rules; retried at the next look if that fails."""
        listed = self._listed_now()
        try:
            known = read_list(self._list)
            text = acl(
                self._site,
                known.listed,
                [each.settings for each in streams],
                cloud_here=self._cloud_here,
                cloud_site=known.cloud_site,
                home_assistant=self._home_assistant,
            )
            changed = await asyncio.to_thread(write_acl, self._path, text)
        except (SettingsError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.error("access rules not written, will retry", extra={"reason": str(error)})  # noqa: TRY400 - the sentence says it all
            self._listed = None
            return
        self._listed, self._trouble = listed, ""
        if changed:
            log.info("access rules written", extra={"path": str(self._path), "streams": len(streams)})
            await asyncio.sleep(RELOAD_S)
