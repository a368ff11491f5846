"""Noise in front of a codec, a bundle's own codecs, and names: what is a codec, and what is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec import structs

from tiercut.codecs.base import Codec
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.noise import noise_of, with_noise, without_noise
from tiercut.codecs.table import CODECS, EMPTY, codec
from tiercut.errors import BadTensor, InputError, SettingsError

Array = npt.NDArray[Any]


class Halves:
    """A codec of one shape, such as a bundle may bring: fp16 under another name."""

    name = "halves-2x"
    lossless = False

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        return dtype == "float32" and tuple(shape) == (4, 50)

    def encode(self, array: Array) -> bytes:
        return CODECS["fp16"].encode(array)

    def decode(self, data: bytes | bytearray | memoryview, *, dtype: str, shape: Sequence[int]) -> Array:
        return CODECS["fp16"].decode(data, dtype=dtype, shape=shape)

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        return CODECS["fp16"].estimate_bytes(dtype, shape)

    def error_bound(self, array: Array) -> float:
        return CODECS["fp16"].error_bound(array)


LEARNED: dict[str, Codec] = {"halves-2x": Halves()}
VALUES = np.random.default_rng(1).normal(3, 5, size=(4, 50)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_noise_has_the_declared_part_of_the_tensors_spread(dtype: str) -> None:
    array = np.random.default_rng(1).normal(3, 5, size=(100, 200)).astype(dtype)
    tensor = encode_tensor("x", array, "noise0.2+raw")
    noise = decode_tensor(tensor).astype(float) - array
    assert (tensor.codec, tensor.dtype) == ("raw", dtype)
    assert noise.std() == pytest.approx(1.0, rel=0.05)
    assert abs(noise.mean()) < 0.05


def test_noise_is_fresh_for_every_tensor() -> None:
    first, second = (decode_tensor(encode_tensor("x", VALUES, "noise0.1+raw")) for _ in range(2))
    assert not np.array_equal(first, second)


def test_receiver_meets_the_inner_codec_only() -> None:
    assert encode_tensor("x", VALUES, "noise0.5+int8+zstd").codec == "int8+zstd"
    noisy = codec("noise0.5+int4+zstd")
    data = noisy.encode(VALUES)
    assert noisy.decode(data, dtype="float32", shape=(4, 50)).shape == (4, 50)
    assert (noisy.lossless, noisy.name) == (False, "noise0.5+int4+zstd")


def test_noise_on_pixels_gives_pixels() -> None:
    frame = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (1, 64, 3, 1)).transpose(0, 1, 3, 2).copy()
    tensor = encode_tensor("x", frame, "noise0.3+png")
    back = decode_tensor(tensor)
    assert (tensor.codec, back.dtype.name, back.shape) == ("png", "uint8", frame.shape)
    assert 10 < np.abs(back.astype(int) - frame).mean() < 25
    assert back.min() == 0
    assert back.max() == 255


def test_noise_stays_where_the_inner_codec_falls_back() -> None:
    small = VALUES[:1, :10]
    tensor = encode_tensor("x", small, "noise0.2+int8+zstd")
    assert tensor.codec == "raw+zstd"
    assert not np.isclose(decode_tensor(tensor), small).any()


def test_noise_is_never_left_out_in_silence() -> None:
    with pytest.raises(InputError):
        encode_tensor("x", np.arange(100), "noise0.2+raw")


def test_tensor_with_nan_gets_noise_on_the_rest() -> None:
    array = VALUES.copy()
    array[0, 0] = np.nan
    back = decode_tensor(encode_tensor("x", array, "noise0.2+raw"))
    assert np.isnan(back[0, 0])
    assert np.isfinite(back).sum() == 199
    assert (back != array).all()


@pytest.mark.parametrize("array", [np.zeros((4, 50), np.float32), np.full((4, 50), 3e38, np.float32)])
def test_tensor_without_spread_stays_what_it_is(array: Array) -> None:
    assert np.array_equal(decode_tensor(encode_tensor("x", array, "noise1+raw")), array)


def is_codec(name: str, learned: Mapping[str, Codec] = EMPTY) -> bool:
    try:
        codec(name, learned)
    except SettingsError:
        return False
    return True


@pytest.mark.parametrize(
    "name", ["noise0+raw", "noise11+raw", "noise-1+raw", "noise0.2", "noise0.2+", "noise1e1+raw", "noise1+noise1+raw"]
)
def test_noise_out_of_bounds_is_no_codec(name: str) -> None:
    assert not is_codec(name)
    with pytest.raises(SettingsError):
        noise_of(name)


@pytest.mark.parametrize("name", ["noise1+gzip", "noise", "", "gzip", "noise٣+raw"])
def test_unknown_names_are_no_codecs(name: str) -> None:
    assert not is_codec(name)
    with pytest.raises(SettingsError):
        codec(name)


def test_names_with_noise_come_apart() -> None:
    assert (noise_of("noise0.25+int8+zstd"), without_noise("noise0.25+int8+zstd")) == (0.25, "int8+zstd")
    assert (noise_of("int8"), without_noise("int8"), with_noise("int8", 0)) == (0.0, "int8", "int8")
    assert with_noise("int8+zstd", 0.25) == codec("noise0.25+int8+zstd").name == "noise0.25+int8+zstd"


def test_name_from_the_bus_with_noise_is_unknown() -> None:
    tensor = encode_tensor("x", VALUES, "raw")
    with pytest.raises(BadTensor) as caught:
        decode_tensor(structs.replace(tensor, codec="noise1+raw"))
    assert caught.value.reason == "unknown_codec"


def test_codec_of_a_bundle_is_used_by_its_name() -> None:
    tensor = encode_tensor("x", VALUES, "halves-2x", LEARNED)
    assert tensor.codec == "halves-2x"
    assert decode_tensor(tensor, LEARNED) == pytest.approx(VALUES, rel=1e-3)
    assert is_codec("noise0.1+halves-2x", LEARNED)
    assert encode_tensor("x", VALUES, "noise0.1+halves-2x", LEARNED).codec == "halves-2x"


def test_codec_of_a_bundle_is_unknown_without_it() -> None:
    assert not is_codec("halves-2x")
    with pytest.raises(BadTensor):
        decode_tensor(encode_tensor("x", VALUES, "halves-2x", LEARNED))


def test_tensor_that_a_bundles_codec_does_not_take_travels_losslessly() -> None:
    tensor = encode_tensor("x", VALUES[:2], "halves-2x", LEARNED)
    assert tensor.codec == "raw+zstd"
    assert np.array_equal(decode_tensor(tensor, LEARNED), VALUES[:2])


def test_codec_of_a_bundle_comes_before_one_of_the_same_name() -> None:
    assert encode_tensor("x", VALUES, "int8", {"int8": Halves()}).codec == "halves-2x"
