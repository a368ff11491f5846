"""Mosquitto's configuration and access rules. The broker for trying out is in `embedded`."""
