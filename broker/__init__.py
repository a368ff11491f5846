"""The site's hub: registry, coordination, HTTP, brokers' settings. What it decides plans with is in `tiercut`."""
