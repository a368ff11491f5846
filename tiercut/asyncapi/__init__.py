"""What can be read and said on a site's bus, as an AsyncAPI 3.0 document: ``python -m tiercut.asyncapi``."""
