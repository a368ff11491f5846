"""Mosquitto's configuration and access rules; the broker for trials is in `embedded`."""
