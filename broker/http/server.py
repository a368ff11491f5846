"""The hub's server: models for its nodes, the registry of streams for people and programs. HTTPS, or 127.0.0.1."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from broker.http.access import LISTED_KEY, NODE_ROLES, READERS, SITE_KEY, TLS_KEY, Handler, Refusal, allowed_to
from broker.http.models import ModelRoutes
from broker.http.streams import MAX_SETTINGS_BYTES, StreamRoutes, StreamsApi
from tiercut import __version__
from tiercut.errors import BusError, SettingsError, TiercutError
from tiercut.repository.store import ModelStore
from tiercut.security.identity_list import IdentityName

__all__ = ["HubServer", "StreamsApi"]

log = logging.getLogger(__name__)

#: From the first byte of a connection to the end of its first request's head.
HEAD_S = 10.0
#: A connection without a request is closed after this.
KEPT_S = 30.0
#: The rest of a refused body is read for this long, so that the client gets the reason.
LINGER_S = 2.0
#: Simultaneous connections, a few per node; more are closed at once.
MAX_CONNECTIONS = 256
#: How long a change of the registry may wait for the bus.
ANSWER_S = 20.0
#: How long requests in hand may take when the server ends.
END_S = 1.0

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_PORTS = {"https": 8443, "http": 8080}


class HubServer:
    """Serves while it is open: ``async with HubServer(…) as server``.

    Args:
        listen: ``https://host[:8443]``, or ``http://127.0.0.1[:8080]`` to try things out; port 0: any free one.
        site: The site; certificates of others are let in for nothing but a cloud node's models.
        models: What nodes may fetch.
        streams: The registry.
        tls: With https: the server's certificate, and the authority of the clients', whose certificates it must demand.
        listed: Who may ask at all, as it is now; without, all who have a certificate of the authority.

    Raises:
        SettingsError: ``listen`` is no such address, is open to others without TLS, or lacks its certificate.
    """

    def __init__(
        self,
        listen: str,
        *,
        site: str,
        models: ModelStore,
        streams: StreamsApi,
        tls: ssl.SSLContext | None = None,
        listed: Callable[[], frozenset[IdentityName]] | None = None,
    ) -> None:
        self._scheme, self._host, self._port = _address(listen, tls)
        self._listen = listen
        self._tls = tls
        self._app = _application(site=site, models=models, streams=streams, tls=tls is not None)
        self._app[LISTED_KEY] = None if tls is None else listed
        self._app.middlewares.insert(0, self._seen)
        self._runner = web.AppRunner(
            self._app, access_log=None, keepalive_timeout=KEPT_S, lingering_time=LINGER_S, shutdown_timeout=END_S
        )
        self._server: asyncio.Server | None = None
        #: connections whose first request has not come yet, with what closes them in time
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            SettingsError: the address cannot be had.
        """
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._connected,
                self._host,
                self._port,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HEAD_S,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"cannot listen on {self._listen}",
                expected="an address of this machine that is free",
                came=(error.strerror or str(error)).lower(),
                fix="choose another one with 'listen', or end the program that has it",
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        log.info("serving", extra={"url": self.url})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        for timer in self._silent.values():
            timer.cancel()
        await asyncio.sleep(0)  # aiohttp has cancelled its tasks, which end now

    def _connected(self) -> asyncio.BaseProtocol:
        """A protocol for one more connection; aiohttp limits neither their number nor the wait for a request."""
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Refused()
        protocol = server()
        self._silent[protocol] = asyncio.get_running_loop().call_later(HEAD_S, self._too_late, protocol)
        return protocol

    def _too_late(self, protocol: web.RequestHandler) -> None:
        self._silent.pop(protocol, None)
        if protocol.transport is not None:  # TLS has a limit of its own
            protocol.transport.abort()

    @web.middleware
    async def _seen(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if timer := self._silent.pop(request.protocol, None):
            timer.cancel()
        return await handler(request)


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _application(*, site: str, models: ModelStore, streams: StreamsApi, tls: bool) -> web.Application:
    app = web.Application(client_max_size=MAX_SETTINGS_BYTES, middlewares=[_answer_json, _from_here])
    app[SITE_KEY] = site
    app[TLS_KEY] = tls
    app.add_routes([*ModelRoutes(models).routes(), *StreamRoutes(streams).routes()])
    app.router.add_get("/v1/health", allowed_to(NODE_ROLES | READERS)(_health))
    return app


async def _health(request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "ok", "site": request.app[SITE_KEY], "version": __version__})


@web.middleware
async def _answer_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make every error a JSON answer of one sentence; what went wrong inside stays in the log."""
    try:
        return await _in_time(request, handler)
    except (Refusal, web.HTTPException, TiercutError, TimeoutError) as error:
        return _refused(error)
    except ConnectionError:  # the client has gone
        raise
    except Exception:  # a fault of ours in one request must not end the server
        log.exception("a request failed", extra={"method": request.method, "path": request.path[:200]})
        return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the hub failed to handle this request; its log says why")


def _refused(error: Exception) -> web.Response:
    match error:
        case Refusal():
            return _error(error.status, error.sentence)
        case web.HTTPException():  # of aiohttp's own: no such address, no such method
            expected = "/v1/models, /v1/streams, /v1/streams/NAME or /v1/health, with GET, PUT or DELETE"
            answer = _error(error.status, f"{error.reason.lower()}: expected {expected}; see docs/streams.md")
            if hdrs.ALLOW in error.headers:
                answer.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return answer
        case BusError():
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case TiercutError():
            return _error(HTTPStatus.BAD_REQUEST, str(error))
    said = f"the site's bus did not answer within {ANSWER_S:.0f} s; try again when the broker is back"
    return _error(HTTPStatus.SERVICE_UNAVAILABLE, said)


async def _in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:  # files have a time of their own
        return await handler(request)
    async with asyncio.timeout(ANSWER_S):
        return await handler(request)


@web.middleware
async def _from_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse foreign host names: without TLS a web page could use one that resolves to 127.0.0.1."""
    if not request.app[TLS_KEY] and urlsplit(f"//{request.host}").hostname not in _LOCAL:
        sentence = f"expected the address 127.0.0.1 or localhost, got '{request.host[:100]}'; use one of them"
        raise Refusal(HTTPStatus.FORBIDDEN, sentence)
    return await handler(request)


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def _address(listen: str, tls: ssl.SSLContext | None) -> tuple[str, str, int]:
    """Scheme, host and port to listen on."""
    try:
        parts = urlsplit(listen)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise _bad_listen(listen, str(error)) from error
    if scheme not in _PORTS or not host or parts.path not in {"", "/"} or parts.query or parts.username:
        raise _bad_listen(listen, f"'{listen}'")
    if scheme == "http" and host not in _LOCAL:
        raise _bad_listen(listen, f"plain http on '{host}', which others can reach")
    if scheme == "https" and (tls is None or tls.verify_mode is not ssl.CERT_REQUIRED):
        raise SettingsError(
            f"cannot listen on {listen}",
            expected="a certificate of the hub, and the authority of its clients",
            came="none" if tls is None else "a server that asks its clients for no certificate",
            fix="set identity to a folder that 'tiercut certs' has written, or listen on http://127.0.0.1:8080",
        )
    return scheme, host, _PORTS[scheme] if port is None else port


def _bad_listen(listen: str, came: str) -> SettingsError:
    return SettingsError(
        f"bad setting listen '{listen}'",
        expected="https://HOST:PORT, or http://127.0.0.1:PORT",
        came=came,
        fix="correct it, or leave it empty for no server",
    )
