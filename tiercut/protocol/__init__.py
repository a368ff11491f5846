"""What goes over the bus: topics, messages with their limits, and their bytes. No I/O."""
