"""Where a bottleneck is put, how narrow it is, and whether that is possible."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tiercut.codecs.table import CODECS, codec
from tiercut.errors import CutError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.cuts import TensorSpec

#: Bits per element of the code → the codec behind the encoder.
INNER = {8: "int8+zstd", 4: "int4+zstd", 2: "int2+zstd"}
#: What carries a code that those do not take, as it is too short for their header to be worth it.
SHORT, SHORT_BITS = "fp16", 16
STRIDES = (1, 2)
#: Default elements of a code: channels of a map, numbers of a vector.
MAP_CHANNELS, VECTOR_CHANNELS = 8, 64
#: As codecs are called on the wire, and part of a file's name; a '+' would read as two codecs.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BottleneckPlan:
    """What to put at which cut.

    Attributes:
        cut: The cut; exactly one float32 tensor is alive there.
        channels: Of the code: channels of a map, or numbers in place of a vector's.
        stride: 2: the code has half the height and width of the map.
        bits: Per element of the code: 8, 4 or 2; 16 where the code is too short for the codecs of these.
        name: What plans and messages call it.
        tensor: What it takes.
        code: Shape of what its encoder makes.
        inner: Codec of the code.
    """

    cut: int
    channels: int
    stride: int
    bits: int
    name: str
    tensor: TensorSpec
    code: tuple[int, ...]
    inner: str


def make_plan(
    bundle: Bundle, cut: int, *, channels: int | None = None, stride: int = 1, bits: int = 8, name: str | None = None
) -> BottleneckPlan:
    """Check what is asked for, and fill in what is not.

    Raises:
        CutError: there is no such cut, or none with one tensor of float32 and a batch of one.
        SettingsError: a number or the name is not valid, or the code would be no smaller than the tensor.
    """
    tensor = _tensor(bundle, cut)
    is_map = len(tensor.shape) == 4  # noqa: PLR2004 - NCHW
    if stride not in STRIDES or bits not in INNER:
        raise _wrong(
            "--stride and --bits", f"a stride of 1 or 2, and {', '.join(map(str, INNER))} bits", (stride, bits)
        )
    if stride > 1 and not is_map:
        raise _wrong("--stride", "1, as there are no height and width", stride)
    length = tensor.shape[1 if is_map else -1]
    channels = min(MAP_CHANNELS if is_map else VECTOR_CHANNELS, max(1, length // 2)) if channels is None else channels
    code = (*tensor.shape[:-1], channels)
    if is_map:
        code = (1, channels, *(-(-side // stride) for side in tensor.shape[2:]))
    if channels < 1 or math.prod(code) >= tensor.elements:
        raise _wrong("--channels", f"1 or more, and a code smaller than the tensor's {tensor}", channels)
    inner = INNER[bits]
    if not codec(inner).accepts("float32", code):
        inner, bits = SHORT, SHORT_BITS
    halved = "-s2" if stride > 1 else ""
    name = f"bottleneck-{cut}-c{channels}{halved}-b{bits}" if name is None else name
    if not _NAME.fullmatch(name) or name in CODECS or name.startswith("noise"):
        raise _wrong("--name", "up to 40 of a-z, 0-9, '.', '_' and '-', and no codec of that name", name)
    return BottleneckPlan(
        cut=cut, channels=channels, stride=stride, bits=bits, name=name, tensor=tensor, code=code, inner=inner
    )


def _tensor(bundle: Bundle, cut: int) -> TensorSpec:
    fix = "choose a cut with one float32 tensor from the table that 'tiercut inspect BUNDLE --all' prints"
    if not 0 < cut < bundle.end:
        raise CutError(
            f"a bottleneck cannot be at cut {cut} of '{bundle.name}'",
            expected=f"a cut of 1 to {bundle.end - 1}",
            came=str(cut),
            fix=fix,
        )
    tensors = bundle.cuts[cut].tensors
    fits = len(tensors) == 1 and tensors[0].dtype == "float32"
    if not fits or tensors[0].shape[:1] != (1,) or len(tensors[0].shape) < 2:  # noqa: PLR2004 - batch and elements
        raise CutError(
            f"a bottleneck cannot be at cut {cut} of '{bundle.name}'",
            expected="one tensor of float32, with a first dimension of 1",
            came=", ".join(f"{tensor.name} {tensor}" for tensor in tensors),
            fix=fix,
        )
    return tensors[0]


def _wrong(flag: str, expected: str, came: object) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=str(came), fix=f"correct {flag}")
