"""Models that come while a node runs: fetched from its hubs, and told to those that use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tiercut.model.bundle import Bundle
from tiercut.node.context import NodeContext
from tiercut.node.identity import client_tls
from tiercut.node.part import Part, Tasks
from tiercut.repository.store import ModelStore

if TYPE_CHECKING:
    from tiercut.repository.fetch import ModelFetcher


class ModelUpdates(Part):
    """Fetches models.

    Args:
        context: The node's; its settings name the hubs.
        models: Where they go.

    Attributes:
        listeners: Told of each model that has come.
    """

    def __init__(self, context: NodeContext, models: ModelStore) -> None:
        self.listeners: list[Callable[[Bundle], None]] = []
        self._fetcher = _fetcher(context, models, self._tell) if context.settings.hub_url else None

    def tasks(self) -> Tasks:
        """One; none where there is no hub."""
        return [] if self._fetcher is None else [("models", self._fetcher.keep)]

    def _tell(self, bundle: Bundle) -> None:
        for listener in self.listeners:
            listener(bundle)


def _fetcher(context: NodeContext, models: ModelStore, tell: Callable[[Bundle], None]) -> ModelFetcher:
    from tiercut.repository.fetch import ModelFetcher  # noqa: PLC0415 - aiohttp is 10 MB that a node without a hub spares

    tls = client_tls(context.settings)
    return ModelFetcher(context.settings.hub_url, models, on_new=tell, tls=tls, counters=context.counters)
