"""Ray Serve: one replica, called by its handle from the process that started Ray.

The handle is the faster of Serve's two ways: HTTP would add a proxy process. The deployment's method is a coroutine, so
it computes on the replica's own loop without a pool of threads.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray import serve as ray_serve
from ray.serve.schema import LoggingConfig

from bench.bare import Part
from bench.cost.rivals.table import Call


class Tail:
    """The deployment."""

    def __init__(self, made: Callable[[], Part]) -> None:
        self._part = made()

    async def __call__(self, payload: bytes) -> bytes:
        """A frame's answer."""
        return self._part.handle(payload)


@contextmanager
def calling(_port: int, made: Callable[[], Part]) -> Iterator[Call]:
    """Starts Ray on this machine, and the replica."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
    ray_serve.start(proxy_location="Disabled", logging_config=quiet)
    handle = ray_serve.run(ray_serve.deployment(Tail, logging_config=quiet).bind(made))
    yield lambda payload: handle.remote(payload).result()
    ray_serve.shutdown()
    ray.shutdown()
