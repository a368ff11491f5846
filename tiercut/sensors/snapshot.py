"""Pictures from an HTTP address, requested one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from tiercut.backoff import Backoff
from tiercut.errors import BadMessage, SettingsError
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.sensing.picture_payload import read_picture
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors.base import DeviceSensor
from tiercut.settings import masked_url

if TYPE_CHECKING:
    from yarl import URL

#: Between two pictures where neither ``fps`` nor ``rate_hz`` says.
DEFAULT_PERIOD_S = 1.0


class Snapshot(DeviceSensor):
    """A picture at an HTTP address, requested again and again; after a failure the pauses grow.

    It asks at the stream's ``fps``, else at ``rate_hz``, else once per second.

    aiohttp rather than urllib: one limit on the time of all of a request, an end at once when the sensor is closed, and
    Digest authentication, which many cameras want. Each request has a connection of its own.
    """

    NEEDS: ClassVar = {"url": '"http://camera.lan/snapshot.jpg"'}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        from tiercut.sensors.fetch import Fetch  # noqa: PLC0415 - aiohttp is 10 MB that other sensors spare

        url = _url(self.source.url)
        #: for messages: addresses of cameras carry passwords in the query too
        self._shown = str(url.with_user(None).with_query(None).with_fragment(None))
        self._fetch = Fetch(url)
        self._lock = threading.Lock()
        self._asking: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    @classmethod
    def check(cls, source: SourceSettings) -> None:
        """Check that its source is an HTTP address."""
        super().check(source)
        with suppress(ValueError):
            url = _url(source.url)
            if url.scheme in {"http", "https"} and url.host:
                return
        raise SettingsError(
            "no pictures can be asked for there",
            expected="a url of http:// or https://",
            came=masked_url(source.url),
            fix="correct url",
        )

    def close(self) -> None:
        """End the iteration, and the request in hand."""
        super().close()
        with self._lock:
            if self._asking is not None:
                loop, task = self._asking
                loop.call_soon_threadsafe(task.cancel)

    def _items(self) -> Iterator[Captured | Spoiled]:
        clock, period_s = self._timing.clock, self._period_s
        backoff = Backoff(first_s=max(period_s, 0.5))
        due_s = clock.monotonic_s()
        while not self._timing.closed:
            due_s = max(due_s, clock.monotonic_s())
            item = self._next()
            if item is None:
                return
            yield item
            if isinstance(item, Spoiled):
                due_s = clock.monotonic_s() + backoff.take_s()
            else:
                backoff.reset()
                due_s += period_s
            self._timing.sleep(due_s - clock.monotonic_s())

    @property
    def _period_s(self) -> float:
        if isinstance(self.source, StreamSettings) and self.source.fps:
            return 0.0  # the stream reads at that rate
        return 1 / self.source.rate_hz if self.source.rate_hz else DEFAULT_PERIOD_S

    def _next(self) -> Captured | Spoiled | None:
        from tiercut.sensors.fetch import FetchFailed  # noqa: PLC0415 - the same

        try:
            frame = read_picture(asyncio.run(self._ask()))
        except asyncio.CancelledError:
            return None
        except (FetchFailed, BadMessage) as error:
            return Spoiled(error.reason, f"{self._shown}: {error}")
        return Captured(frame, _url(self._shown).name or None, self._timing.clock.unix_s())

    async def _ask(self) -> bytes:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        with self._lock:
            self._asking = asyncio.get_running_loop(), task
        try:
            if self._timing.closed:
                raise asyncio.CancelledError
            return await self._fetch.get()
        finally:
            with self._lock:
                self._asking = None


def _url(text: str) -> URL:
    from yarl import URL  # noqa: PLC0415 - part of aiohttp

    return URL(text)
