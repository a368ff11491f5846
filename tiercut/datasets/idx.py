"""IDX, the format of MNIST: ``00 00 08 ndim``, one big-endian uint32 per dimension, then uint8; plain or gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import DataError

_HEADER_BYTES, _MAX_DIMENSIONS, _UINT8 = 4, 4, 8
#: A header may promise anything; memory is taken only as the bytes come.
_PIECE_BYTES = 1 << 20


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a file: mapped where the file is plain, in memory where it is gzipped.

    Raises:
        DataError: it cannot be read, is no IDX file of uint8, or has more or fewer bytes than it promises.
    """
    try:
        with _opened(path) as file:
            shape = _read_shape(path, file)
            if path.suffix != ".gz":
                return _mapped(path, shape, file.tell())
            data = _read_at_most(file, math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, "a file that can be read", str(error) or type(error).__name__) from error
    if len(data) != math.prod(shape):
        raise _wrong_size(path, shape, "more" if len(data) > math.prod(shape) else f"only {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_shape(path: Path, file: BinaryIO) -> tuple[int, ...]:
    magic = file.read(_HEADER_BYTES)
    if len(magic) < _HEADER_BYTES or magic[:3] != bytes((0, 0, _UINT8)) or not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise _damaged(path, "00 00 08 and 1 to 4 dimensions in its first four bytes", magic.hex(" ") or "no bytes")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise _damaged(path, f"a header with {magic[3]} dimensions", f"{len(sizes)} bytes of them")
    return tuple(int(n) for n in np.frombuffer(sizes, ">u4"))


def _mapped(path: Path, shape: tuple[int, ...], offset: int) -> NDArray[np.uint8]:
    size = path.stat().st_size - offset
    if size != math.prod(shape):
        raise _wrong_size(path, shape, str(size))
    if not size:
        return np.zeros(shape, np.uint8)
    return np.memmap(path, np.uint8, "r", offset, shape)


def _read_at_most(file: BinaryIO, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = file.read(min(_PIECE_BYTES, count - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


def _wrong_size(path: Path, shape: tuple[int, ...], came: str) -> DataError:
    return _damaged(path, f"{math.prod(shape)} bytes for {list(shape)}", came)


def _damaged(path: Path, expected: str, came: str) -> DataError:
    return DataError(f"'{path}' is no whole IDX file", expected=expected, came=came, fix="copy or download it again")
