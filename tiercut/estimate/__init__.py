"""What links and nodes are doing now, from the times of passing frames. What machines can do is in `profiling`.

`links` gives rate and latency of a hop, `nodes` slowdown and queue of a node; both notice a step by `changepoint`.
"""
