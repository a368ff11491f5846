"""What every node is, whatever its tier: parts that share a `context`, put together in `node`, and its `program`.

What happens to a frame is in `pipeline`.
"""
