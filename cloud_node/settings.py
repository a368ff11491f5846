"""Settings of a cloud node."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.node.settings import NodeSettings


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """A cloud node of tiercut: runs the last layers, publishes results."""
