"""Models that come while a node runs: fetched from its hubs, and told to those that use them."""

from __future__ import annotations

from collections.abc import Callable

from tiercut.model.bundle import Bundle
from tiercut.node.context import NodeContext
from tiercut.node.identity import client_tls
from tiercut.node.part import Part, Tasks
from tiercut.repository.fetch import ModelFetcher
from tiercut.repository.store import ModelStore


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
        self._fetcher = ModelFetcher(
            context.settings.hub_url,
            models,
            on_new=self._tell,
            tls=client_tls(context.settings),
            counters=context.counters,
        )

    def tasks(self) -> Tasks:
        """One, that ends at once where there is no hub."""
        return [("models", self._fetcher.keep)]

    def _tell(self, bundle: Bundle) -> None:
        for listener in self.listeners:
            listener(bundle)
