"""What links and nodes are doing now, from the times of the frames that pass: pure arithmetic, time is an argument.

`links` gives rate and latency of a hop, `nodes` slowdown and queue of a node; both notice a step by `changepoint`.
"""
