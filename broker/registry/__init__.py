"""Which streams a site wants, who reads their sensors, and their state: `core` decides, `shell` uses the bus."""
