"""The device tier: sensors, the head segment, publishing."""
