"""Attackers that rebuild frames from the tensors at a cut. A device's own checks are in `iot_node.privacy`."""
