"""Brings one model from a hub into the folder of bundles: written aside, checked as any bundle is, then renamed.

    <bundles>/.<first digits of the identity>.part/    what has come so far; the next try goes on from there
    <bundles>/<name>/                                  the bundle; <name>-<digits> where something else is there

Only data comes: JSON and ONNX, in files that `bundle.json` names, whose identity says what all of them must be.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import shutil
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import aiohttp

from tiercut.errors import BundleError, ChecksumError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_files import STALE_S, write_file
from tiercut.model.bundle_format import JSON_FILE, Contents, FileMark, from_document
from tiercut.names import NAME
from tiercut.repository.store import SHORT_DIGITS, ModelStore

#: Largest ``bundle.json``: 10,000 cuts take a few MB.
MAX_JSON_BYTES = 32 * 1024 * 1024
#: Room that stays free on the disk, for logs and other programs.
SPARE_BYTES = 32 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
PART = ".part"
#: The connection broke; disk errors are not among these.
BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a hub has: what people call it, and its identity."""

    name: str
    model: str


class Source(Protocol):
    """One model's files at a hub."""

    async def read(self, path: str, max_bytes: int) -> bytes:
        """A small file.

        Raises:
            BundleError: the hub does not give it, or it is larger.
            ClientError, TimeoutError: the connection broke.
        """
        ...

    def get(self, path: str, start: int) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A file from a byte on: its answer has status 206, or 200 for all of it."""
        ...


class Busy(Exception):
    """Another process, or another hub's download in this one, is bringing the model."""


class Download:
    """Brings one model.

    Args:
        offer: Which.
        models: The node's models; their folder is where it goes.
        source: Where it comes from.
        max_bytes: A larger one is refused.
    """

    def __init__(self, offer: Offer, models: ModelStore, source: Source, *, max_bytes: int) -> None:
        self._offer = offer
        self._models = models
        self._folder = models.folder
        self._source = source
        self._max_bytes = max_bytes
        self._stage = models.folder / f".{offer.model[:16]}{PART}"

    async def run(self) -> Bundle:
        """Bring it; what came before the connection broke is kept for the next try.

        Raises:
            Busy: somebody else is bringing it.
            BundleError: it is not what was offered, too large, or cannot be written; nothing of it is kept.
            ClientError, TimeoutError: the connection broke.
        """
        try:
            with _owned(self._stage):
                return await self._or_nothing()
        except OSError as error:  # the folder cannot be made
            if isinstance(error, BROKEN):
                raise
            raise self._not_written(error) from error

    async def _or_nothing(self) -> Bundle:
        try:
            return await self._checked()
        except BROKEN:
            raise
        except (BundleError, OSError, Busy) as error:
            await asyncio.to_thread(shutil.rmtree, self._stage, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise self._not_written(error) from error

    async def _checked(self) -> Bundle:
        await asyncio.to_thread(self._models.refresh)
        if self._models.has(self._offer.model):  # it was finished by another before we had the lock
            raise Busy
        data = await self._source.read(JSON_FILE, MAX_JSON_BYTES)
        contents = await asyncio.to_thread(self._contents, data)
        while True:
            resumed = await self._fill(contents.files)
            await asyncio.to_thread(write_file, self._stage / JSON_FILE, data)
            try:
                bundle = await asyncio.to_thread(Bundle.load, self._stage)
            except ChecksumError:
                if not resumed:
                    raise
                for name in contents.files:  # what was kept from before may be wrong: once more, from the start
                    (self._stage / name).unlink(missing_ok=True)
            else:
                return await asyncio.to_thread(self._put_in_place, bundle)

    def _contents(self, data: bytes) -> Contents:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._wrong("JSON", str(error)[:80]) from error
        model, contents = from_document(document)
        if model != self._offer.model:
            raise self._wrong(f"the model {self._offer.model[:SHORT_DIGITS]}", model[:SHORT_DIGITS])
        size = sum(mark.bytes for mark in contents.files.values())
        if size > self._max_bytes:
            raise self._wrong(f"at most {self._max_bytes / 1e6:.0f} MB", f"{size / 1e6:.0f} MB")
        missing = size - sum(_size(self._stage / name) for name in contents.files)
        free = shutil.disk_usage(self._folder).free
        if missing + SPARE_BYTES > free:
            raise BundleError(
                f"no room for the model '{self._offer.name}'",
                expected=f"{(missing + SPARE_BYTES) / 1e6:.0f} MB free in '{self._folder}'",
                came=f"{free / 1e6:.0f} MB",
                fix="make room, such as by deleting old bundles there",
            )
        return contents

    async def _fill(self, files: Mapping[str, FileMark]) -> bool:
        """Bring every file; returns whether parts of some were there already."""
        resumed = False
        for name, mark in files.items():
            path = self._stage / name
            have = _size(path)
            if have > mark.bytes:
                path.unlink()
                have = 0
            resumed = resumed or have > 0
            if have < mark.bytes or not path.exists():
                await self._file(name, path, have, mark.bytes)
        return resumed

    async def _file(self, name: str, path: Path, have: int, size: int) -> None:
        path.parent.mkdir(exist_ok=True)
        async with self._source.get(name, have) as answer:
            if answer.status != 206:  # noqa: PLR2004 - Partial Content
                have = 0
            with path.open("r+b" if have else "wb") as file:
                file.seek(have)
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    have += len(chunk)
                    if have > size:
                        raise self._wrong(f"{size} bytes of '{name}'", "more")
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_sync, file.fileno())

    def _put_in_place(self, bundle: Bundle) -> Bundle:
        """Rename; whatever already has the name stays."""
        name = self._offer.name if NAME.fullmatch(self._offer.name) else "model"
        short = f"{name}-{self._offer.model[:SHORT_DIGITS]}"
        for target in (self._folder / each for each in (name, short, *(f"{short}-{i}" for i in range(2, 100)))):
            if not os.path.lexists(target):
                self._stage.rename(target)
                return replace(bundle, folder=target.resolve())
        raise self._wrong(f"a free name such as '{short}' in '{self._folder}'", "none")

    def _wrong(self, expected: str, came: str) -> BundleError:
        return BundleError(
            f"the hub's model '{self._offer.name}' is refused",
            expected=expected,
            came=came,
            fix="export the model again where the hub has it",
        )

    def _not_written(self, error: OSError) -> BundleError:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return BundleError(
            f"cannot write the model '{self._offer.name}'",
            expected=f"a folder that can be written, '{self._folder}'",
            came="a full disk" if full else (error.strerror or str(error)).lower(),
            fix="make room, such as by deleting old bundles there" if full else "set bundles to such a folder",
        )


def tidy_up(folder: Path) -> None:
    """Delete downloads that were started long ago and never finished, unless one is still running."""
    for stage in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError, Busy):
            newest_s = max(each.stat().st_mtime for each in (stage, *stage.rglob("*")))
            if time.time() - newest_s > STALE_S:
                with _owned(stage):
                    shutil.rmtree(stage)


@contextlib.contextmanager
def _owned(stage: Path) -> Iterator[None]:
    """Hold the folder, made if need be, for ourselves; it may be renamed meanwhile."""
    stage.mkdir(parents=True, exist_ok=True)
    handle = os.open(stage, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(handle), stage.stat())
        except OSError as error:  # locked, or renamed since
            raise Busy from error
        if not same:
            raise Busy
        yield
    finally:
        os.close(handle)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync(handle: int) -> None:
    os.fsync(handle)
