"""All topics as an AsyncAPI 3.0 document: ``python -m tiercut.asyncapi``. The topics are in `protocol`."""
