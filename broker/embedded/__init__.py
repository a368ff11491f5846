"""The broker for trials and tests, in a process of its own. The one for production is in `mosquitto`."""
