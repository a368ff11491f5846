"""Protocol buffers on the wire, https://protobuf.dev/programming-guides/encoding: fields, read and made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiercut.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A field's value: an integer, or the bytes of a text, of a message, or of a number of fixed size.
Value = int | bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
#: Seven bits of 64 in each.
_MAX_VARINT_BYTES = 10
_64_BITS = (1 << 64) - 1


def fields(data: Value) -> Iterator[tuple[int, Value]]:
    """The fields of a message, in their order: number and value.

    Raises:
        BundleError: these bytes are no message.
    """
    data, at = as_bytes(data), 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value - (1 << 64) if value >> 63 else value  # int64, in two's complement
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise _damaged(f"a field of kind {kind}")
        if size > len(data) - at:
            raise _damaged("less than it says")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer, and where the next thing is."""
    value = 0
    for k, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:  # noqa: PLR2004 - its last byte
            return value & _64_BITS, at + k + 1
    raise _damaged("an integer without an end")


def varints(data: bytes) -> list[int]:
    """Integers one after the other."""
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def field(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(data)) + data


def varint_field(number: int, value: int) -> bytes:
    """A field of an integer."""
    return _encode_varint(number << 3) + _encode_varint(value & _64_BITS)


def _encode_varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def as_bytes(value: Value) -> bytes:
    """A field that has bytes."""
    if isinstance(value, int):
        raise _damaged("an integer where bytes belong")
    return value


def as_int(value: Value) -> int:
    """A field that has an integer."""
    if isinstance(value, bytes):
        raise _damaged("bytes where an integer belongs")
    return value


def as_text(value: Value) -> str:
    """A field that has text."""
    try:
        return as_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise _damaged("text that is no UTF-8") from error


def _damaged(came: str) -> BundleError:
    return BundleError(
        "an ONNX graph cannot be read", expected="an ONNX graph", came=came, fix="export the model again"
    )
