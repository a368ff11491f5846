"""The envelope: `Work` as a msgpack map and back. `docs/wire-format.md` is its specification.

Within version 1, fields may be added: a reader ignores keys that it does not know (up to `MAX_KEYS` in a map) and
takes absent ones by the rules of the specification. Anything else asks for another version, which is refused.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from tiercut.codecs.base import declared_bytes
from tiercut.codecs.encoded import EncodedTensor
from tiercut.declared import plain
from tiercut.errors import BadEnvelope, BadTensor, SettingsError, refuse
from tiercut.limits import MAX_TENSOR_BYTES, MAX_TENSORS
from tiercut.names import check_name
from tiercut.plan import Plan
from tiercut.protocol.frames import VERSION, Work
from tiercut.refusal import Steps, bad_plan, missing, refusal

#: All of an envelope but its tensors' bytes, unknown fields included.
MAX_HEAD_BYTES = 1024 * 1024
#: An envelope holds its tensors, whose encoded form may be a little larger than the decoded, and not much else.
MAX_ENVELOPE_BYTES = MAX_TENSOR_BYTES + MAX_HEAD_BYTES
MAX_KEYS = 64
#: No longer value is shown in a refusal, and no longer plan is cached.
MAX_SHOWN_BYTES = 1024
#: First bytes of msgpack's bin types.
_BIN = (0xC4, 0xC5, 0xC6)


class _Data(Struct):
    data: Raw = Raw(b"")


class _Bulk(Struct):
    """The large parts of an envelope, as they are there: finding them takes no memory, whatever is beside them."""

    tensors: Annotated[tuple[_Data, ...], Meta(max_length=MAX_TENSORS)] = ()


class _Unread(Work, frozen=True, tag=VERSION):
    """The frame with its plan as it stands there."""

    plan: Raw  # type: ignore[assignment] # of the same names, but not as they are when all is read
    emulated: bool | None = False  # type: ignore[assignment]


_UNREAD, _PLAN, _BULK, _ANY, _RAW = Decoder(_Unread), Decoder(Plan), Decoder(_Bulk), Decoder(), Decoder(Raw)
_MAP, _LIST = Decoder(dict[str, Raw]), Decoder(list[Raw])
_encode = Encoder(enc_hook=plain).encode


def encode_work(work: Work) -> bytes:
    """The envelope of a frame; copies each tensor's bytes once."""
    return _encode(work)


def decode_work(data: bytes, *, max_tensor_bytes: int = MAX_TENSOR_BYTES) -> Work:
    """The frame in an envelope; copies each tensor's bytes once and decodes none of them.

    Args:
        data: The envelope.
        max_tensor_bytes: What the tensors may declare together, decoded.

    Raises:
        BadEnvelope: with a ``reason`` of `refusal.ENVELOPE_REASONS`.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise refuse("envelope_too_big", expected=f"at most {MAX_ENVELOPE_BYTES} bytes", came=len(data))
    within: Steps = ()
    try:
        _check_maps(data)
        said = _UNREAD.decode(data)
        within = ("plan",)
        plan = _plan(bytes(said.plan))
    except (msgspec.DecodeError, SettingsError, RecursionError) as error:
        raise _refusal(data, error, within) from error
    _check_size(said.tensors, max_tensor_bytes)
    for name in {each.where for each in said.stages}:
        check_name(name, field_name="where")
    return Work(
        site=said.site,
        stream=said.stream,
        seq=said.seq,
        model=said.model,
        plan=plan,
        delivery=said.delivery,
        cut=said.cut,
        captured_unix_s=said.captured_unix_s,
        captured=said.captured,
        sent=said.sent,
        stages=said.stages,
        deadline_s=said.deadline_s,
        label=said.label,
        return_to=said.return_to,
        emulated=bool(said.emulated),
        outcomes=said.outcomes,
        results_to=said.results_to,
        lane=said.lane,
        tensors=said.tensors,
    )


def _plan(raw: bytes) -> Plan:
    """A stream's frames carry the same plan over and over: it is read once."""
    return _known_plan(raw) if len(raw) <= MAX_SHOWN_BYTES else _new_plan(raw)


def _new_plan(raw: bytes) -> Plan:
    if deadline := _map(raw).get("deadline"):
        _map(deadline)
    return _PLAN.decode(raw)


_known_plan = lru_cache(maxsize=256)(_new_plan)


def _check_size(tensors: tuple[EncodedTensor, ...], max_bytes: int) -> None:
    """Refuse tensors that are too much when they are decoded."""
    try:
        total = sum([declared_bytes(each.dtype, each.shape) for each in tensors])
    except BadTensor as error:
        raise refuse("tensors_too_big", expected=error.expected, came=error.came) from error
    if total > max_bytes:
        raise refuse("tensors_too_big", expected=f"at most {max_bytes} bytes decoded", came=total)


def _check_maps(data: bytes) -> None:
    """Refuse a key that occurs twice, of which msgspec takes the last; and too much besides the tensors' data."""
    if len(data) > MAX_HEAD_BYTES:
        _check_head(data)
    root = _map(data)
    if not root:
        _check_head(data)
    if "v" not in root:
        raise missing("v", ())
    if tensors := root.get("tensors"):
        for each in _LIST.decode(tensors):
            _map(each)


def _check_head(data: bytes) -> None:
    """Refuse a large envelope of which hardly anything is tensors' data, before any of it is read."""
    bulk = [memoryview(each.data) for each in _BULK.decode(data).tensors]
    if any(each and each[0] not in _BIN for each in bulk):
        raise refuse("bad_type", expected="'tensors[].data' as bytes", came="another type")
    head_bytes = len(data) - sum(map(len, bulk))
    if head_bytes > MAX_HEAD_BYTES:
        raise refuse("envelope_too_big", expected=f"at most {MAX_HEAD_BYTES} bytes besides data", came=head_bytes)


def _map(raw: bytes | Raw) -> dict[str, Raw]:
    """The fields of a map, each once; none of anything else, which the declaration refuses."""
    count = _entries(raw, fixed=0x80, long=0xDE)
    if count is None:
        return {}
    if count > MAX_KEYS:
        raise refuse("not_msgpack", expected=f"at most {MAX_KEYS} keys in a map", came=count)
    made = _MAP.decode(raw)
    if len(made) != count:
        raise refuse("duplicate_key", expected="each key once in a map", came="one twice")
    return made


def _entries(raw: bytes | Raw, *, fixed: int, long: int) -> int | None:
    """How many entries a map or list says it has (``fixed`` and ``long`` are its first bytes), ``None`` for others."""
    head = memoryview(raw)
    first = head[0] if head else 0
    if first & 0xF0 == fixed:
        return first & 0x0F
    return int.from_bytes(head[1 : 3 if first == long else 5]) if first in {long, long + 1} else None


def _refusal(data: bytes, error: Exception, within: Steps) -> BadEnvelope:
    """What is wrong with an envelope; takes little memory, whatever it holds."""
    if isinstance(error, SettingsError):
        return bad_plan(error)
    try:
        _RAW.decode(data)
    except (msgspec.DecodeError, RecursionError) as damage:
        error = damage
    if not isinstance(error, msgspec.ValidationError) or ", got `ext`" in str(error):
        return refuse("not_msgpack", expected="one msgpack map", came=str(error))
    if " - at `key` in `" in str(error):
        return refuse("missing_field", expected="keys that are text", came=str(error))
    if (version := _version(data)) != VERSION:
        return refuse("unknown_version", expected=f"version {VERSION} (upgrade the older node)", came=version)
    return refusal(error, Plan if within else Work, lambda steps: _value_at(data, steps), within=within)


def _version(data: bytes) -> int:
    """What an envelope says of its version; ours where it says no number."""
    with suppress(msgspec.DecodeError, LookupError):
        version = _value_at(data, ("v",))
        return version if type(version) is int else VERSION
    return VERSION


def _value_at(data: bytes, steps: Steps) -> object:
    """A value that can be shown.

    Raises:
        LookupError: it is not there, too long, or among too many.
    """
    raw: bytes | Raw = data
    for step in steps:
        if isinstance(step, str):
            raw = getattr(_field(step).decode(raw), step)
        elif (_entries(raw, fixed=0x90, long=0xDC) or 0) > MAX_TENSORS:
            raise LookupError
        else:
            raw = _LIST.decode(raw)[step]
    if not 0 < len(memoryview(raw)) <= MAX_SHOWN_BYTES:
        raise LookupError
    value: object = _ANY.decode(raw)
    return value


@lru_cache(maxsize=64)
def _field(name: str) -> Decoder[Any]:
    """Finds one field of a map and leaves the others unread."""
    return Decoder(msgspec.defstruct("Field", [(name, Raw, Raw(b""))]))
