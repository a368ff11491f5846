"""Limits of one message; a reader refuses more before it allocates memory for it."""

from __future__ import annotations

#: Tensors, dimensions of each, stages of a frame, characters of a text.
MAX_TENSORS = 256
MAX_DIMENSIONS = 8
MAX_STAGES = 64
MAX_TEXT = 256
#: Characters of a sentence for people.
MAX_SENTENCE = 1024
#: What JSON readers that only know doubles keep exactly.
MAX_INTEGER = 2**53 - 1
#: Stages that a frame may arrive with; each node adds a few.
MAX_STAGES_ARRIVING = MAX_STAGES - 16
#: Bounds of times, so that no arithmetic and no calendar goes over them: a century, and the year 9999.
MAX_SECONDS = 4e9
#: So long a result of `latest` waits for the cloud's broker, at the node that finishes it and again at an edge that
#: sends it up; a device waits for longer than both.
CLOUD_PATIENCE_S = 5.0
MAX_UNIX_S = 253_402_300_799.0
MAX_TENSOR_BYTES = 256 * 1024 * 1024
MAX_PAYLOAD_BYTES = 2**40
