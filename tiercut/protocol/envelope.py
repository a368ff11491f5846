"""The envelope: `Work` as a msgpack map and back. `docs/wire-format.md` is its specification.

Within version 1, fields may be added: a reader ignores keys that it does not know (up to `MAX_KEYS` in a map) and
takes absent ones by the rules of the specification. Anything else asks for another version, which is refused.
"""

from __future__ import annotations

from typing import Any

import msgpack

from tiercut.codecs.base import DTYPES, declared_bytes
from tiercut.codecs.encoded import EncodedTensor
from tiercut.errors import BadTensor, refuse
from tiercut.limits import MAX_DIMENSIONS, MAX_STAGES, MAX_TENSOR_BYTES, MAX_TENSORS, MAX_TEXT
from tiercut.protocol.frames import ClockStamp, Stage, Work
from tiercut.protocol.wirefields import ENVELOPE_REASONS, Fields, check_codec, finite, plan_from_map, plan_to_map

__all__ = ["ENVELOPE_REASONS", "MAX_ENVELOPE_BYTES", "VERSION", "decode_work", "encode_work"]

VERSION = 1

#: An envelope holds its tensors, whose encoded form may be a little larger than the decoded, and not much else.
MAX_ENVELOPE_BYTES = MAX_TENSOR_BYTES + 1024 * 1024
MAX_KEYS = 64
MAX_LIST = max(MAX_TENSORS, MAX_STAGES)
#: Maps: the root, the plan and the tensors. Lists: tensors, stages, codecs, two clocks, every shape and every stage.
#: Twice what version 1 uses, for what it may still grow.
MAX_MAPS = 2 * (MAX_TENSORS + 2)
MAX_LISTS = 2 * (MAX_TENSORS + MAX_STAGES + 5)


def encode_work(work: Work) -> bytes:
    """The envelope of a frame; copies each tensor's bytes once.

    The tensors' bytes are joined in here, as msgpack's own buffer would copy them three times (200 kB: 0.16 ms).
    """
    fields = {
        "v": VERSION,
        "site": work.site,
        "stream": work.stream,
        "seq": work.seq,
        "model": work.model,
        "plan": plan_to_map(work.plan),
        "delivery": work.delivery,
        "cut": work.cut,
        "captured_unix_s": work.captured_unix_s,
        "captured": [work.captured.clock_id, work.captured.seconds],
        "sent": [work.sent.clock_id, work.sent.seconds],
        "stages": [[s.where, s.kind, s.seconds, s.emulated, s.payload_bytes] for s in work.stages],
        "deadline_s": work.deadline_s,
        "label": work.label,
        "return_to": work.return_to,
        "emulated": work.emulated,
    }
    packer = msgpack.Packer(autoreset=False, buf_size=4096)
    packer.pack_map_header(len(fields) + 1)
    for key, value in fields.items():
        packer.pack(key)
        packer.pack(value)
    packer.pack("tensors")
    packer.pack_array_header(len(work.tensors))
    pieces: list[bytes] = []
    for each in work.tensors:
        packer.pack_map_header(5)
        for text in ("name", each.name, "dtype", each.dtype, "codec", each.codec, "shape", each.shape, "data"):
            packer.pack(text)
        pieces += (packer.bytes(), _bytes_header(len(each.data)), each.data)
        packer.reset()
    return b"".join((*pieces, packer.bytes()))


def _bytes_header(length: int) -> bytes:
    """The header of msgpack's bin type."""
    size = next(size for size in (1, 2, 4) if length >> (8 * size) == 0)
    return bytes([{1: 0xC4, 2: 0xC5, 4: 0xC6}[size]]) + length.to_bytes(size)


def decode_work(data: bytes, *, max_tensor_bytes: int = MAX_TENSOR_BYTES) -> Work:
    """The frame in an envelope; copies each tensor's bytes once and decodes none of them.

    Args:
        data: The envelope.
        max_tensor_bytes: What the tensors may declare together, decoded.

    Raises:
        BadEnvelope: with a ``reason`` of `ENVELOPE_REASONS`.
    """
    root = Fields(_unpack(data), "envelope")
    version = root.integer("v")
    if version != VERSION:
        raise refuse("unknown_version", expected=f"version {VERSION} (upgrade the older node)", came=version)
    return Work(
        site=root.text("site"),
        stream=root.text("stream"),
        seq=root.integer("seq"),
        model=root.text("model"),
        plan=plan_from_map(root.child("plan")),
        delivery=root.text("delivery"),  # type: ignore[arg-type] # the constructor checks it
        cut=root.integer("cut"),
        tensors=_tensors(root.sequence("tensors", limit=MAX_TENSORS), max_tensor_bytes),
        captured_unix_s=root.number("captured_unix_s"),
        captured=_stamp(root, "captured"),
        sent=_stamp(root, "sent"),
        stages=tuple(_stage(each) for each in root.sequence("stages", limit=MAX_STAGES)),
        deadline_s=root.optional_number("deadline_s"),
        label=root.optional_text("label"),
        return_to=root.optional_text("return_to"),
        emulated=root.flag("emulated"),
    )


class _Census:
    """Counts the containers while msgpack makes them: a byte on the wire can be an empty map of 64 bytes.

    Limits on a container's length alone do not help, as there may be many. Nesting is bounded by msgpack itself.
    """

    __slots__ = ("lists", "maps")

    def __init__(self) -> None:
        self.maps = MAX_MAPS
        self.lists = MAX_LISTS

    def map(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.maps -= 1
        if self.maps < 0:
            raise refuse("too_many", expected=f"at most {MAX_MAPS} maps", came="more")
        made = dict(pairs)
        if len(made) != len(pairs):
            raise refuse("duplicate_key", expected="each key once in a map", came="one twice")
        return made

    def list(self, items: list[Any]) -> list[Any]:
        self.lists -= 1
        if self.lists < 0:
            raise refuse("too_many", expected=f"at most {MAX_LISTS} lists", came="more")
        return items


def _no_extension(code: int, data: bytes) -> None:
    raise refuse("not_msgpack", expected="no extension types", came=(code, len(data)))


def _unpack(data: bytes) -> object:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise refuse("envelope_too_big", expected=f"at most {MAX_ENVELOPE_BYTES} bytes", came=len(data))
    census = _Census()
    try:
        unpacked: object = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=census.map,
            list_hook=census.list,
            ext_hook=_no_extension,
            max_map_len=MAX_KEYS,
            max_array_len=MAX_LIST,
            max_str_len=4 * MAX_TEXT,
            max_bin_len=MAX_ENVELOPE_BYTES,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise refuse("not_msgpack", expected="one msgpack map within the limits", came=str(error)) from error
    return unpacked


def _stamp(root: Fields, key: str) -> ClockStamp:
    pair = root.sequence(key, limit=MAX_KEYS)
    if len(pair) < 2 or not isinstance(pair[0], str) or not _is_number(pair[1]):  # noqa: PLR2004 - a pair
        raise root.bad_type(key, pair)
    return ClockStamp(pair[0], finite(pair[1], key))


def _stage(entry: object) -> Stage:
    if not isinstance(entry, list) or len(entry) < 4:  # noqa: PLR2004 - where, kind, seconds, emulated
        raise refuse("bad_stage", expected="[where, kind, seconds, emulated, bytes]", came=type(entry).__name__)
    where, kind, seconds, emulated, size = (*entry[:5], 0)[:5]
    types = isinstance(where, str) and isinstance(kind, str) and isinstance(emulated, bool) and type(size) is int
    if not (types and _is_number(seconds)):
        raise refuse(
            "bad_stage", expected="[text, text, number, flag, integer]", came=[type(e).__name__ for e in entry]
        )
    return Stage(where, kind, finite(seconds, "stages"), emulated, size)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tensors(entries: list[Any], max_tensor_bytes: int) -> tuple[EncodedTensor, ...]:
    tensors = tuple(_tensor(Fields(entry, "tensor")) for entry in entries)
    total = 0
    for each in tensors:
        try:
            total += declared_bytes(each.dtype, each.shape)
        except BadTensor as error:
            raise refuse("tensors_too_big", expected=error.expected, came=error.came) from error
    if total > max_tensor_bytes:
        raise refuse("tensors_too_big", expected=f"at most {max_tensor_bytes} bytes decoded", came=total)
    return tensors


def _tensor(fields: Fields) -> EncodedTensor:
    shape = fields.sequence("shape", limit=MAX_DIMENSIONS)
    if any(not isinstance(n, int) or isinstance(n, bool) for n in shape):
        raise fields.bad_type("shape", shape)
    dtype, codec_name = fields.text("dtype"), fields.text("codec")
    if dtype not in DTYPES:
        raise refuse("unknown_dtype", expected=f"one of {', '.join(DTYPES)}", came=dtype)
    check_codec(codec_name)
    return EncodedTensor(fields.text("name"), dtype, tuple(shape), codec_name, fields.data("data"))
