"""The site's hub: the bus, the streams and their plans."""
