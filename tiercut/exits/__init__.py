"""Early exits: small classifier heads at cut points, trained, calibrated and put into a bundle's graph."""
