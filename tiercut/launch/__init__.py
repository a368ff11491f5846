"""The programs as processes of this one, for demos, tests and benchmarks. What they do is in themselves."""
