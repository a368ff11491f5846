"""Arrays in npy files (numpy's NEP 1), without pickle: headers are checked against the bytes before memory is made."""

from __future__ import annotations

import ast
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import BadMessage
from tiercut.sensing.rejects import rejected

#: Longest payload, in bytes: a raw frame of 1920x1080 in colour has 6.2 MB.
MAX_NPY_BYTES = 8 * 1024 * 1024

_MAGIC = b"\x93NUMPY"
#: Version of the format → bytes of the header's length.
_LENGTH = {1: 2, 2: 4, 3: 4}
_MAX_HEADER, _MAX_DIMENSIONS = 4096, 8
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


def read_npy(payload: bytes) -> NDArray[Any]:
    """The array; ``BadMessage`` for anything else."""
    if len(payload) > MAX_NPY_BYTES:
        raise rejected(
            "too_large", f"at most {MAX_NPY_BYTES} bytes of npy", f"{len(payload)} bytes", "publish smaller payloads"
        )
    header, data = _split(payload)
    dtype, shape, fortran = _fields(header)
    wanted = dtype.itemsize * math.prod(shape)
    if wanted != len(data):
        raise _bad(f"{wanted} bytes for {dtype.name}{list(shape)}", f"{len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))


def _split(payload: bytes) -> tuple[bytes, bytes]:
    """Header and data."""
    size = _LENGTH.get(payload[6]) if payload.startswith(_MAGIC) and len(payload) > len(_MAGIC) else None
    if size is None:
        raise _bad("an npy file of version 1 to 3", f"bytes that begin with {payload[:12]!r}")
    start = len(_MAGIC) + 2 + size
    length = int.from_bytes(payload[start - size : start], "little")
    if length > _MAX_HEADER or start + length > len(payload):
        raise _bad(f"a header of at most {_MAX_HEADER} bytes", f"one of {length} in {len(payload)} bytes")
    return payload[start : start + length], payload[start + length :]


def _fields(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    try:
        fields = ast.literal_eval(header.decode("utf-8").strip())
        descr, shape, fortran = fields["descr"], fields["shape"], fields["fortran_order"]
    except (ValueError, SyntaxError, TypeError, LookupError, MemoryError, RecursionError) as error:
        raise _bad("a header with descr, shape and fortran_order", f"another one ({type(error).__name__})") from error
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        raise _bad("integers, floats or bools (no objects, no records)", f"descr {str(descr)[:40]!r}")
    dimensions = shape if isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS else ("?",)
    if not all(type(n) is int and 0 <= n <= MAX_NPY_BYTES for n in dimensions):
        raise _bad(f"at most {_MAX_DIMENSIONS} dimensions >= 0", f"shape {str(shape)[:40]}")
    return np.dtype(descr), dimensions, bool(fortran)


def _bad(expected: str, came: str) -> BadMessage:
    return rejected("bad_npy", expected, came, "publish numpy.save(file, array, allow_pickle=False) of plain numbers")
