"""The cloud tier: the tail segment and the results."""
