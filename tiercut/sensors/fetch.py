"""Fetches what is at an HTTP address, within limits of time and size."""

from __future__ import annotations

from base64 import b64encode

import aiohttp
from yarl import URL

from tiercut.sensing.picture_payload import MAX_IMAGE_BYTES

#: From connecting to the last byte, so that a server that trickles bytes times out too.
TIMEOUT_S = 10.0
OK, UNAUTHORIZED = 200, 401


class FetchFailed(Exception):
    """A request failed: no answer, no success, or an answer that is too large.

    Args:
        reason: Name of a counter.
        expected: What should have come.
        came: What came instead.
        fix: What to do.
    """

    def __init__(self, reason: str, *, expected: str, came: str, fix: str) -> None:
        super().__init__(f"expected {expected}, got {came}; {fix}")
        self.reason = reason


class Fetch:
    """Fetches what is at an address.

    Args:
        url: With name and password where the server wants them; they go to that server only, in the way it asks for
            (Basic or Digest).
        timeout_s: For all of a request.
        max_bytes: Of an answer.
    """

    def __init__(self, url: URL, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_IMAGE_BYTES) -> None:
        self._url = url.with_user(None)
        self._user, self._password = url.user or "", url.password or ""
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_bytes
        self._basic: dict[str, str] = {}
        self._digest: tuple[aiohttp.DigestAuthMiddleware, ...] = ()

    async def get(self) -> bytes:
        """One request, or two where the server asks for a password first.

        Raises:
            FetchFailed: there is no good answer.
        """
        try:
            async with aiohttp.ClientSession(timeout=self._timeout) as session:
                return await self._ask(session)
        except TimeoutError as error:
            expected = f"an answer within {self._timeout.total:g} s"
            raise FetchFailed("no_answer", expected=expected, came="none", fix="check the camera") from error
        except aiohttp.ClientConnectorCertificateError as error:
            expected, fix = "a certificate of a known CA", "name a file with its CA in SSL_CERT_FILE"
            raise FetchFailed("no_answer", expected=expected, came=str(error), fix=fix) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            came = str(error) or type(error).__name__
            raise FetchFailed("no_answer", expected="an answer", came=came, fix="see to url and camera") from error

    async def _ask(self, session: aiohttp.ClientSession, *, again: bool = False) -> bytes:
        async with session.get(
            self._url, headers=self._basic, middlewares=self._digest, allow_redirects=False
        ) as response:
            if response.status == OK:
                return await self._read(response)
            if response.status != UNAUTHORIZED or again or not self._identify(response):
                raise self._unwelcome(response)
        return await self._ask(session, again=True)

    def _identify(self, response: aiohttp.ClientResponse) -> bool:
        """Authenticate in the way that the server asks for."""
        if not self._user:
            return False
        asked = " ".join(response.headers.getall("WWW-Authenticate", [])).lower()
        if "digest" in asked:
            self._digest = (aiohttp.DigestAuthMiddleware(self._user, self._password),)
        else:
            self._basic = {"Authorization": f"Basic {b64encode(f'{self._user}:{self._password}'.encode()).decode()}"}
        return True

    def _unwelcome(self, response: aiohttp.ClientResponse) -> FetchFailed:
        came, fix = f"{response.status} {response.reason or ''}".rstrip(), "correct url"
        if response.status == UNAUTHORIZED:
            fix = "put the right name and password into url (http://name:password@…)"
        elif moved := response.headers.get("Location"):
            came += f" to {str(URL(moved).with_query(None))!r}"
            fix = "put that address into url"  # followed by itself, it could take the password to another server
        return FetchFailed("http_status", expected="status 200", came=came, fix=fix)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > self._max_bytes:
                expected, came = f"at most {self._max_bytes} bytes", f"{response.content_length or 'more'}"
                raise FetchFailed("too_large", expected=expected, came=came, fix="ask the camera for smaller pictures")
        return bytes(data)
