"""aiohttp on both sides: a POST per frame on one kept connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import ClientSession, web

from bench.bare import Part
from bench.cost.rivals.table import Call

LARGEST_BYTES = 64 * 1024 * 1024


def serve(port: int, part: Part) -> None:
    """Compute in the handler, on the loop's thread: the shortest way."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=part.handle(await request.read()))

    app = web.Application(client_max_size=LARGEST_BYTES)
    app.router.add_post("/", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


@contextmanager
def calling(port: int, _made: Callable[[], Part]) -> Iterator[Call]:
    """One session; the loop runs while a call is under way."""
    loop = asyncio.new_event_loop()

    async def opened() -> ClientSession:
        return ClientSession()

    async def post(payload: bytes) -> bytes:
        async with session.post(url, data=payload) as response:
            response.raise_for_status()
            return await response.read()

    url = f"http://127.0.0.1:{port}/"
    session = loop.run_until_complete(opened())
    yield lambda payload: loop.run_until_complete(post(payload))
    loop.run_until_complete(session.close())
    loop.close()
