"""A frame on a node: `decide` says what happens to it next, all other modules carry that out.

    intake ─▶ queues ─▶ worker ─▶ processor ─▶ worker ─▶ dispatch ─▶ outlet
    (bus)                  (a thread: decide, segment_runner)           (bus)

Which parts a node has besides is in `node`; which plan a frame follows is chosen in `coordinator`.
"""
