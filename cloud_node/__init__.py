"""The cloud tier: the tail segment and the results. What every node does is in `tiercut.node`."""
