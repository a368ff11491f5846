"""Settings of an edge node."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.node_settings import NodeSettings


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """An edge node of tiercut: runs the middle layers, sends the rest to the cloud."""
