"""The broker for trying out and for tests, in a process of its own. The one for production is in `mosquitto`."""
