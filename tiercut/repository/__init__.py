"""The bundles that a node has, and how it gets others over HTTPS. What a bundle is, `model` says."""
