"""A bundle's graph as torch modules, for training and attacking. Nothing that runs frames needs it."""
