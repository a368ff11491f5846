"""The edge tier: the middle segment."""
