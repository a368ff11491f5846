"""The device tier: from sensors to frames in flight; what every node does is in `tiercut.node`."""
