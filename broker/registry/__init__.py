"""Which streams a site wants, who reads their sensors, how they do: `core` decides, `shell` is on the bus. No plans."""
