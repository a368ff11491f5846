"""A frame on a node, from delivery to outcome. What a node does besides is in `node`."""
