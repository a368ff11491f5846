"""The edge tier: the answer cache and the gateway. What every node does is in `tiercut.node`."""
