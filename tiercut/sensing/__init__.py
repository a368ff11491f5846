"""From anything that senses to what a model takes: forms, payloads, windows, and whether a sensor fits a model."""
