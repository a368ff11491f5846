"""Training early exits: small classifier heads at cut points. Running them is in `model` and `pipeline`."""
