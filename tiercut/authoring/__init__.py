"""From a torch or ONNX model to a bundle on disk. Reading bundles is in `model`."""
