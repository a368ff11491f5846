"""What is said on the bus: topics, messages with their limits, and their bytes. No I/O."""
