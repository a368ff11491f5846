"""Serves the hub's models to its nodes: a list, and the files of each; nodes check the files' identity."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from broker.http.access import CLOUDS, NODE_ROLES, OPERATORS, Refusal, allowed_to
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import JSON_FILE, FileMark
from tiercut.repository.store import ModelStore

#: A client that reads more slowly than this is cut off, and may continue with a Range request, bytes per second.
MIN_RATE = 16 * 1024
#: Time for the smallest file.
MIN_TIME_S = 30.0


@dataclass(frozen=True, slots=True)
class _Offered:
    """A bundle as it stands on the disk now."""

    bundle: Bundle
    files: dict[str, FileMark]


class ModelRoutes:
    """Handlers for the models.

    What else is in a bundle's folder stays here: a table of codecs is for who plans.

    Args:
        models: The hub's models.
    """

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        #: ``bundle.json`` → time of writing, and what was made of it
        self._marks: dict[Path, tuple[int, FileMark, str | None]] = {}
        self._reading = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """The routes and who may use them."""
        nodes = allowed_to(NODE_ROLES | OPERATORS, of_any_site=CLOUDS)
        return [
            web.get("/v1/models", nodes(self._list)),
            web.get("/v1/models/{model}/{path:.+}", nodes(self._file)),
        ]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response([_entry(each) for each in (await self._offered()).values()])

    async def _file(self, request: web.Request) -> web.StreamResponse:
        model, path = request.match_info["model"], request.match_info["path"]
        offered = (await self._offered()).get(model)
        mark = None if offered is None else offered.files.get(path)
        if offered is None or mark is None:
            expected = "no such file: expected a model and a file of GET /v1/models"
            came = f"{model[:12]}/{path}"[:120]
            raise Refusal(HTTPStatus.NOT_FOUND, f"{expected}, got '{came}'; ask for the list again")
        # the names of files come out of `bundle.json`, which was checked; what was asked for makes no path
        return _TimedFile(offered.bundle.folder / path, MIN_TIME_S + mark.bytes / MIN_RATE)

    async def _offered(self) -> dict[str, _Offered]:
        async with self._reading:
            return await asyncio.to_thread(self._read)

    def _read(self) -> dict[str, _Offered]:
        self._models.refresh()
        offered = {}
        for bundle in self._models.bundles():
            mark = self._mark(bundle.folder / JSON_FILE, bundle.model)
            if mark is not None:
                offered[bundle.model] = _Offered(bundle, {JSON_FILE: mark, **bundle.contents.files})
        return offered

    def _mark(self, path: Path, model: str) -> FileMark | None:
        """The mark of ``bundle.json``, which does not contain its own; ``None`` where another model has come there."""
        try:
            stamp_ns = path.stat().st_mtime_ns
            known = self._marks.get(path)
            if known is None or known[0] != stamp_ns:
                data = path.read_bytes()
                mark = FileMark(len(data), hashlib.sha256(data).hexdigest())
                known = self._marks[path] = (stamp_ns, mark, json.loads(data).get("model"))
        except (OSError, ValueError):  # deleted or replaced at this moment
            return None
        return known[1] if known[2] == model else None


class _TimedFile(web.FileResponse):
    """A file that a client must read in time."""

    def __init__(self, path: Path, max_s: float) -> None:
        super().__init__(path)
        self.content_type = "application/octet-stream"
        self._max_s = max_s

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it; aiohttp calls this once."""
        try:
            async with asyncio.timeout(self._max_s):
                return await super().prepare(request)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            message = "the client was too slow"
            raise ConnectionResetError(message) from None


def _entry(offered: _Offered) -> dict[str, Any]:
    files = [{"path": path, "bytes": mark.bytes, "sha256": mark.sha256} for path, mark in offered.files.items()]
    return {"name": offered.bundle.name, "model": offered.bundle.model, "files": files}
