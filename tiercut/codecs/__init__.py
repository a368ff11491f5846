"""How tensors and pictures become bytes: the codecs and their table. Those trained for a model are in `model`."""
