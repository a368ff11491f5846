"""What a model's outputs become for people and other systems. Messages between nodes are in `protocol`."""
