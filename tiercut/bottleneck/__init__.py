"""Training learned codecs, distilled from the full model. Running them is `model.learned_codec`."""
