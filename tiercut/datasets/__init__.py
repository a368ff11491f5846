"""Labelled and unlabelled samples for training and measuring. What sensors give is in `sensing`."""
