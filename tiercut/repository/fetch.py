"""Fetches the models that hubs have and this node lacks, over HTTPS."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from tiercut.backoff import Backoff
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.repository.download import BROKEN, Busy, Download, Offer, tidy_up
from tiercut.repository.hub_client import HubClient, ModelFiles, read_offers
from tiercut.repository.store import ModelStore

log = logging.getLogger(__name__)

#: Seconds between two requests while the hub answers.
EVERY_S = 5.0
#: Pauses while it does not: the first, and the longest.
FIRST_WAIT_S, MAX_WAIT_S = 0.25, 15.0
#: Pauses after a model that was not what it should be, or did not find room.
REFUSED_WAIT_S, MAX_REFUSED_WAIT_S = 30.0, 600.0
MAX_MODEL_BYTES = 8 * 1024**3
MAX_LIST_BYTES = 4 * 1024 * 1024
#: The connection is given up after this long without a byte; what has arrived is kept.
SILENT_S = 20.0
CONNECT_S = 5.0

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(slots=True)
class _Refused:
    """A refused model: it is not asked for before a time of the loop."""

    until_s: float
    backoff: Backoff


def _pauses() -> Backoff:
    """Half of each is random, so that nodes do not ask in step."""
    return Backoff(first_s=FIRST_WAIT_S, max_s=MAX_WAIT_S, jitter=0.5)


@dataclass(slots=True)
class _Hub:
    """What is known of one hub.

    Attributes:
        url: Its address.
        trouble: Why it gives nothing, as it was logged; empty while it does.
        backoff: The pauses while it gives nothing.
        broken: Model → downloads of it that broke off.
        refused: Model → until when it is not asked for.
    """

    url: str
    trouble: str = ""
    backoff: Backoff = field(default_factory=_pauses)
    broken: Counter[str] = field(default_factory=Counter)
    refused: dict[str, _Refused] = field(default_factory=dict)


class ModelFetcher:
    """Keeps a node's models as complete as its hubs' are.

    What a hub no longer has stays here, and so does every bundle that did not come from a hub.

    Args:
        urls: Addresses of the hubs, ``https://host:8443`` (``http://`` on this machine alone).
        models: The node's models; its folder is where they go.
        on_new: Told of each model that has come.
        tls: Gives the context for a connection, with certificates as they are now.
        counters: ``models_fetched`` and ``models_refused``.
        every_s: Seconds between two requests.
        max_model_bytes: Larger models are refused.

    Raises:
        SettingsError: an address is none.
    """

    def __init__(
        self,
        urls: Sequence[str],
        models: ModelStore,
        *,
        on_new: Callable[[Bundle], None],
        tls: Callable[[], ssl.SSLContext] | None = None,
        counters: Counter[str] | None = None,
        every_s: float = EVERY_S,
        max_model_bytes: int = MAX_MODEL_BYTES,
    ) -> None:
        self._hubs = [_Hub(_checked(url)) for url in dict.fromkeys(urls)]
        self._models = models
        self._on_new = on_new
        self._tls = tls
        self._counters = Counter() if counters is None else counters
        self._every_s = every_s
        self._max_model_bytes = max_model_bytes
        #: models that their users have been told of
        self._told = {bundle.model for bundle in models.bundles()}

    async def keep(self) -> None:
        """Ask each hub again and again; returns at once where there is none."""
        if not self._hubs:
            return
        await asyncio.to_thread(tidy_up, self._models.folder)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
        async with (
            aiohttp.ClientSession(
                timeout=timeout,
                headers={"Accept-Encoding": "identity"},  # sizes are those of the files, and nothing unpacks to more
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            for hub in self._hubs:
                group.create_task(self._follow(hub, session), name=f"models of {hub.url}")

    async def _follow(self, hub: _Hub, session: aiohttp.ClientSession) -> None:
        while True:
            try:
                await self._ask(hub, session)
            except (OSError, aiohttp.ClientError, BundleError, SettingsError) as error:
                self._away(hub, _reason(error))
                await asyncio.sleep(hub.backoff.take_s())
            else:
                if hub.trouble:
                    log.info("hub gives models again", extra={"hub": hub.url})
                hub.trouble = ""
                hub.backoff.reset()
                await asyncio.sleep(self._every_s)

    def _away(self, hub: _Hub, reason: str) -> None:
        """Log the first reason, and nothing more until the hub is back."""
        if not hub.trouble:
            log.warning("no models from the hub, asking on", extra={"hub": hub.url, "reason": reason})
        hub.trouble = reason

    async def _ask(self, hub: _Hub, session: aiohttp.ClientSession) -> None:
        here = HubClient(hub.url, session, self._tls)
        offers = read_offers(await here.read("/v1/models", MAX_LIST_BYTES))
        if any(not self._models.has(each.model) for each in offers):
            await asyncio.to_thread(self._models.refresh)
        missing = [each for each in offers if not self._models.has(each.model)]
        now_s = asyncio.get_running_loop().time()
        due = [each for each in missing if each.model not in hub.refused or hub.refused[each.model].until_s <= now_s]
        self._tell(offers)
        for offer in sorted(due, key=lambda each: hub.broken[each.model]):  # one that never gets through comes last
            await self._fetch(hub, here, offer)
            self._tell([offer])

    def _tell(self, offers: list[Offer]) -> None:
        """Tell of models that have come, also by another process with the same folder."""
        for model in {each.model for each in offers} - self._told:
            bundle = self._models.find(model) if self._models.has(model) else None
            if bundle is not None:
                self._told.add(model)
                self._on_new(bundle)

    async def _fetch(self, hub: _Hub, here: HubClient, offer: Offer) -> None:
        began_s = time.monotonic()
        files = ModelFiles(here, offer.model)
        download = Download(offer, self._models, files, max_bytes=self._max_model_bytes)
        try:
            bundle = await download.run()
        except Busy:
            return
        except BROKEN:
            hub.broken[offer.model] += 1
            raise
        except BundleError as error:
            self._refuse(hub, offer, error)
            return
        self._models.add(bundle)
        self._counters["models_fetched"] += 1
        took_s = round(time.monotonic() - began_s, 2)
        log.info(
            "model fetched", extra={"model": offer.name, "hub": hub.url, "folder": str(bundle.folder), "s": took_s}
        )

    def _refuse(self, hub: _Hub, offer: Offer, error: BundleError) -> None:
        refused = hub.refused.get(offer.model)
        if refused is None:
            refused = _Refused(0.0, Backoff(first_s=REFUSED_WAIT_S, max_s=MAX_REFUSED_WAIT_S))
            hub.refused[offer.model] = refused
            log.error("model refused", extra={"model": offer.name, "hub": hub.url, "reason": str(error)})
        refused.until_s = asyncio.get_running_loop().time() + refused.backoff.take_s()
        self._counters["models_refused"] += 1


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the hub's certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return (error.os_error.strerror or str(error.os_error)).lower()
    return str(error) or type(error).__name__


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.path in {"", "/"} and not parts.query and parts.port != 0
    except ValueError:
        good = False
    if not good or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)):
        raise SettingsError(
            f"bad setting hub_url '{url}'",
            expected="https://HOST:8443, or http:// with 127.0.0.1",
            came=f"'{url}'",
            fix="correct it, or leave it empty where the node has its bundles itself",
        )
    return url.rstrip("/")
