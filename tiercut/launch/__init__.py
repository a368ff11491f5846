"""Starting the programs as processes of this one, for demos, tests and benchmarks."""
