"""Why a frame cannot be used: the fixed set of reasons, and errors that carry one."""

from __future__ import annotations

from tiercut.errors import BadMessage

#: Every reason that this package gives, and what it means; counters ``dropped.<reason>``.
REASONS = {
    "empty": "a message without a payload",
    "too_large": "more bytes, pixels or numbers than a frame may have",
    "bad_image": "no whole picture in JPEG, PNG or WebP",
    "bad_json": "no JSON",
    "no_such_path": "JSON without what json_path points to",
    "bad_number": "something that is no number, or not a finite one",
    "bad_pcm": "bytes that are no whole samples",
    "bad_npy": "no npy file of plain numbers, or one whose header does not fit its bytes",
    "wrong_shape": "an array of another shape or element type than the settings or the model have",
    "no_rate": "several samples at once from a sensor of unknown rate",
}


def rejected(reason: str, expected: str, came: str, fix: str) -> BadMessage:
    """The error for a payload, its sentence as people read it on the stream's status."""
    return BadMessage(f"a payload is {_IS[reason]}", expected=expected, came=came, fix=fix, reason=reason)


def out_of_memory(payload: bytes) -> BadMessage:
    """The error for a payload that takes more memory than this node has."""
    came = f"{len(payload)} bytes that take more"
    return rejected("too_large", "what the memory of this node can hold", came, "publish less at once")


_IS = {
    "empty": "empty",
    "too_large": "too large",
    "bad_image": "no picture",
    "bad_json": "no JSON",
    "no_such_path": "without the value that was asked for",
    "bad_number": "no usable number",
    "bad_pcm": "no PCM of this form",
    "bad_npy": "no usable npy file",
    "wrong_shape": "of another shape",
    "no_rate": "of unknown rate",
}
