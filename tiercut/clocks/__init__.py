"""Offsets between the monotonic clocks of nodes, and the exchange that finds them.

The clock itself is `tiercut.clock`.
"""
