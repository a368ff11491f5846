"""The registry of streams over HTTP: list, show, add, remove."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web

from broker.http.access import OPERATORS, READERS, Handler, Refusal, allowed_to
from tiercut.errors import BadMessage, SettingsError
from tiercut.names import check_name

#: A stream's settings as JSON.
MAX_SETTINGS_BYTES = 16 * 1024
#: How long a request may take to arrive.
BODY_S = 10.0


class StreamsApi(Protocol):
    """The registry, as the server sees it."""

    def listing(self) -> list[dict[str, Any]]:
        """Every stream: its settings and its status."""
        ...

    def show(self, name: str) -> dict[str, Any] | None:
        """One stream; ``None`` where there is none of that name."""
        ...

    async def add(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Add a stream or change it; gives what `show` then does.

        Raises:
            TiercutError: the settings are not valid, or do not fit.
            BusError: the broker does not take it.
        """
        ...

    async def remove(self, name: str) -> bool:
        """Remove a stream; whether there was one."""
        ...


class StreamRoutes:
    """Handlers for the registry.

    Args:
        api: The registry.
    """

    def __init__(self, api: StreamsApi) -> None:
        self._api = api

    def routes(self) -> list[web.RouteDef]:
        """The routes and who may use them."""
        readers, operators = allowed_to(READERS), allowed_to(OPERATORS)
        one = "/v1/streams/{name}"
        return [
            web.get("/v1/streams", readers(self._list)),
            web.get(one, readers(_named(self._show))),
            web.put(one, operators(_named(self._put))),
            web.delete(one, operators(_named(self._delete))),
        ]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(self._api.listing())

    async def _show(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        found = self._api.show(name)
        if found is None:
            raise _unknown(name)
        return web.json_response(found)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        settings = await _settings(request, name)
        known = self._api.show(name) is not None
        if known and request.headers.get("If-None-Match") == "*":
            sentence = f"the stream '{name}' is there already: expected a new name, got '{name}'"
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, f"{sentence}; omit If-None-Match to replace it")
        return web.json_response(await self._api.add(name, settings), status=200 if known else 201)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not await self._api.remove(name):
            raise _unknown(name)
        return web.json_response({"removed": name})


async def _settings(request: web.Request, name: str) -> dict[str, Any]:
    """The settings in a request's body, with the name in its address."""
    if (request.content_length or 0) > MAX_SETTINGS_BYTES:  # before any of it is read
        raise _too_large(request.content_length)
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError as error:
        sentence = f"expected the settings within {BODY_S:.0f} s, got a part of them; send them again"
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, sentence) from error
    except web.HTTPRequestEntityTooLarge as error:  # sent in chunks, of no known length
        raise _too_large() from error
    try:
        settings = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad("JSON", str(error)[:200]) from error
    if not isinstance(settings, dict):
        raise _bad("a JSON object of settings", type(settings).__name__)
    if settings.setdefault("name", name) != name:
        raise _bad(f"the name '{name}', as in the address", repr(settings["name"])[:100])
    return settings


def _named(handler: Handler) -> Handler:
    """Accept only names that a stream may have: no MQTT wildcards, no slashes."""

    async def checked(request: web.Request) -> web.StreamResponse:
        try:
            check_name(request.match_info["name"], field_name="the name of a stream")
        except BadMessage as error:
            raise SettingsError(
                "bad name of a stream", expected=error.expected, came=error.came, fix="choose another name"
            ) from error
        return await handler(request)

    return checked


def _too_large(came_bytes: int | None = None) -> Refusal:
    """The body of a request is over the limit."""
    came = "more" if came_bytes is None else f"{came_bytes}"
    sentence = f"the request is too large: expected settings of at most {MAX_SETTINGS_BYTES} bytes, got {came}"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{sentence}; send one stream's settings alone")


def _unknown(name: str) -> Refusal:
    sentence = f"no stream '{name}': expected one of GET /v1/streams, got '{name}'; see the list for their names"
    return Refusal(HTTPStatus.NOT_FOUND, sentence)


def _bad(expected: str, came: str) -> SettingsError:
    return SettingsError("the settings cannot be read", expected=expected, came=came, fix="correct the request's body")
