"""A node's requests to a hub over HTTPS: which models it has, and their files."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import aiohttp

from tiercut.errors import BundleError
from tiercut.repository.download import Offer

MAX_SENTENCE_BYTES = 4096

_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubClient:
    """Requests to one hub, with the certificates as they are now.

    Args:
        url: The hub.
        session: Sends them.
        tls: Gives the context, ``None`` for the system's.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self._url = url
        self._session = session
        self._tls: ssl.SSLContext | bool = True if tls is None else tls()

    @contextlib.asynccontextmanager
    async def get(self, path: str, start: int = 0) -> AsyncIterator[aiohttp.ClientResponse]:
        """A file from a byte on: its answer has status 206, or 200 for all of it.

        Raises:
            BundleError: the hub refuses.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with self._session.get(self._url + path, headers=headers, ssl=self._tls, allow_redirects=False) as answer:
            if answer.status == HTTPStatus.OK or (start and _goes_on(answer, start)):
                yield answer
                return
            said = await answer.content.read(MAX_SENTENCE_BYTES)
            raise BundleError(
                f"the hub at {self._url} does not give '{path[-80:]}'",
                expected="status 200",
                came=f"{answer.status} {_sentence(said)}".strip(),
                fix="check the hub's log",
            )

    async def read(self, path: str, max_bytes: int) -> bytes:
        """A small file.

        Raises:
            BundleError: the hub refuses, or it is larger than that.
        """
        data = bytearray()
        async with self.get(path) as answer:
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > max_bytes:
                    raise BundleError(
                        f"'{path[-80:]}' of the hub at {self._url} is refused",
                        expected=f"at most {max_bytes} bytes",
                        came="more",
                        fix="check that this is the hub's address",
                    )
        return bytes(data)


class ModelFiles:
    """The files of one model."""

    def __init__(self, connection: HubClient, model: str) -> None:
        self._connection = connection
        self._prefix = f"/v1/models/{model}/"

    async def read(self, path: str, max_bytes: int) -> bytes:
        """See `HubClient.read`."""
        return await self._connection.read(self._prefix + path, max_bytes)

    def get(self, path: str, start: int) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """See `HubClient.get`."""
        return self._connection.get(self._prefix + path, start)


def _goes_on(answer: aiohttp.ClientResponse, start: int) -> bool:
    partial: bool = answer.status == HTTPStatus.PARTIAL_CONTENT
    return partial and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _sentence(said: bytes) -> str:
    """A hub's error as one line for a log."""
    try:
        return str(json.loads(said)["error"])[:500]
    except (ValueError, LookupError, TypeError):
        return said[:100].decode(errors="replace").replace("\n", " ")


def read_offers(data: bytes) -> list[Offer]:
    """The models of a list; entries that cannot be read are omitted."""
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad_list("JSON", str(error)[:80]) from error
    if not isinstance(entries, list):
        raise _bad_list("a list", type(entries).__name__)
    pairs = [(each.get("name"), each.get("model")) for each in entries if isinstance(each, dict)]
    return [
        Offer(name[:64], model)
        for name, model in pairs
        if isinstance(name, str) and isinstance(model, str) and _SHA256.fullmatch(model)
    ]


def _bad_list(expected: str, came: str) -> BundleError:
    return BundleError(
        "the hub's list of models cannot be read",
        expected=expected,
        came=came,
        fix="check that this is the hub's address",
    )
