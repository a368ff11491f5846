"""The two calls around the table of codecs: a tensor into a codec, and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from tiercut.codecs.base import DTYPES, Array, Codec, dtype_name, refuse_tensor
from tiercut.codecs.encoded import EncodedTensor
from tiercut.codecs.noise import Noise, add_noise
from tiercut.codecs.plain import PackedCodec
from tiercut.codecs.table import CODECS, EMPTY, codec
from tiercut.errors import InputError
from tiercut.limits import MAX_TENSOR_BYTES


def encode_tensor(name: str, array: Array, codec_name: str, learned: Mapping[str, Codec] = EMPTY) -> EncodedTensor:
    """A tensor in a codec, or losslessly where the codec does not take it; the codec really used is recorded.

    Not taken are types and shapes that `Codec.accepts` denies, and values that `int8` could not bound (NaN, infinity).
    Noise is added in any case, and not recorded: who receives the tensor need not know of it.

    Args:
        name: The tensor's name.
        array: The tensor.
        codec_name: As `codec` takes it.
        learned: The bundle's own codecs, looked up first.

    Raises:
        SettingsError: there is no codec of that name.
        InputError: the element type does not travel at all, the tensor is over the limit of bytes, or noise is asked
            for on integers.
    """
    chosen = codec(codec_name, learned)
    dtype, shape = dtype_name(array), array.shape
    if dtype not in DTYPES or array.nbytes > MAX_TENSOR_BYTES:
        raise InputError(
            f"tensor '{name}' cannot be sent",
            expected=f"a type of {', '.join(DTYPES)} and at most {MAX_TENSOR_BYTES} bytes",
            came=f"{dtype}, {array.nbytes} bytes",
            fix="cut the model elsewhere",
        )
    if isinstance(chosen, Noise):
        array, chosen = add_noise(array, chosen.scale), chosen.inner
    data = None
    if chosen.accepts(dtype, shape):
        with suppress(InputError):  # values out of bounds: the lossless codec carries them as they are
            data = chosen.encode(array)
    if data is None:
        chosen = stand_in(chosen)
        data = chosen.encode(array)
    return EncodedTensor(name=name, dtype=dtype, shape=tuple(shape), codec=chosen.name, data=memoryview(data))


def decode_tensor(tensor: EncodedTensor, learned: Mapping[str, Codec] = EMPTY) -> Array:
    """The array of an encoded tensor; read-only, and on the message's own bytes, where the codec is ``raw``.

    Allocates at most a few times the declared size, which `declared_bytes` limits. Whoever knows what should come
    (a node knows its segment's inputs) compares type and shape first.

    Args:
        tensor: As it came.
        learned: The bundle's own codecs, looked up first.

    Raises:
        BadTensor: unknown codec or type, or bytes that are not exactly one such tensor.
    """
    chosen = learned.get(tensor.codec) or CODECS.get(tensor.codec)
    if chosen is None:
        came = CODECS.broken(tensor.codec) or tensor.codec
        raise refuse_tensor("unknown_codec", expected=f"one of {', '.join((*learned, *CODECS))}", came=came)
    return chosen.decode(tensor.data, dtype=tensor.dtype, shape=tensor.shape)


def stand_in(chosen: Codec) -> Codec:
    """The lossless codec for tensors that a codec does not take: without a compressor where that has none either."""
    return CODECS["raw" if isinstance(chosen, PackedCodec) else "raw+zstd"]
