"""A hub's server with certificates of a site, and somebody who asks it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from broker.http.access import ListedIdentities
from broker.http.server import HubServer
from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.repository.store import ModelStore
from tiercut.security.authority import AuthorityFolder, Sites
from tiercut.security.identity import Identity
from tiercut.security.identity_list import LIST_FILE, IdentityName, Listed, Role
from tiercut.settings import from_table, to_table

HUB = IdentityName("home", "hub", "hub")
OPERATOR = IdentityName("home", "operator", "ann")
EDGE = IdentityName("home", "edge", "kitchen")


class Registry:
    """A registry that is a dictionary; it knows the model ``chain``."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamSettings] = {}

    def listing(self) -> list[dict[str, Any]]:
        return [to_table(each) for each in self.streams.values()]

    def show(self, name: str) -> dict[str, Any] | None:
        return to_table(self.streams[name]) if name in self.streams else None

    async def add(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        wanted = from_table(StreamSettings, settings, where=f"the stream '{name}'")
        if wanted.model == "broken":
            raise RuntimeError("a secret of the inside")
        if wanted.model != "chain":
            raise SettingsError("no such model", expected="chain", came=wanted.model, fix="export it")
        self.streams[name] = wanted
        return to_table(wanted)

    async def remove(self, name: str) -> bool:
        return self.streams.pop(name, None) is not None


@dataclass
class Certificates:
    """A site's authority, which makes identities when they are asked for."""

    folder: Path
    _pki: AuthorityFolder = field(init=False)

    def __post_init__(self) -> None:
        self._pki = AuthorityFolder.new(self.folder, sites=Sites("home", "cloud"))

    def identity(self, name: IdentityName = HUB) -> Identity:
        self._pki.ensure(Listed(name))
        return Identity.load(self._pki.files.path_of(name))

    def remove(self, name: IdentityName) -> None:
        self._pki.remove(name)

    def of(self, role: Role, *, site: str = "home", name: str = "x") -> ssl.SSLContext:
        return self.identity(IdentityName(site, role, name)).client_context()

    def trusting(self) -> ssl.SSLContext:
        """Trusts the site, and shows no certificate."""
        return ssl.create_default_context(cafile=self.identity().ca_file)


@dataclass
class Asker:
    """Asks a server."""

    url: str
    registry: Registry
    server: HubServer

    async def ask(
        self, method: str, path: str, *, tls: ssl.SSLContext | None = None, **more: Any
    ) -> tuple[int, dict[str, Any], bytes]:
        """Status, JSON (empty where it is none) and body."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls or True), timeout=timeout) as session,
            session.request(method, self.url + path, **more) as answer,
        ):
            body = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(body) if is_json else {}, body


@asynccontextmanager
async def served(bundles: Path, certificates: Certificates | None = None) -> AsyncIterator[Asker]:
    """A server on a free port: plain http without certificates."""
    registry = Registry()
    listen = "http://127.0.0.1:0" if certificates is None else "https://localhost:0"
    tls = listed = None
    if certificates is not None:
        hub = certificates.identity()
        tls, listed = hub.server_context(), ListedIdentities(hub.folder / LIST_FILE)
    models = ModelStore(bundles)
    async with HubServer(listen, site="home", models=models, streams=registry, tls=tls, listed=listed) as server:
        yield Asker(server.url, registry, server)
