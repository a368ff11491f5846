"""tiercut: one neural network across a sensor, an edge box and a cloud."""

__version__ = "0.1.0"
