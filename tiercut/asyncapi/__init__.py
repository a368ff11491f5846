"""What can be read and published on a site's bus, as an AsyncAPI 3.0 document: ``python -m tiercut.asyncapi``."""
