"""Mosquitto's configuration and access rules; the broker for trying out is in `embedded`."""
