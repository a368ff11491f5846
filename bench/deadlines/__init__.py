"""Accuracy against deadline and bandwidth, live: ``python -m bench deadlines``."""
