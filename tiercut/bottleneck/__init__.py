"""Learned codecs: a small encoder and decoder at a cut, distilled from the full model, that become part of a bundle."""
