"""How long segments and codecs take on a machine, measured or predicted. What they take right now is in `estimate`."""
