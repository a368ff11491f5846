"""What every node is, whatever its tier: its program, presence, load and refusals.

What happens to a frame is in `pipeline`.
"""
