"""The hub over HTTPS: models, streams, access. What it serves is decided elsewhere."""
