"""From what sensors publish to what a model takes: payloads, windows, fusion. The sensors are in `tiercut.sensors`."""
