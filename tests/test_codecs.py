"""Codecs: what comes back, how far off it may be, what is refused before memory is spent on it."""

from __future__ import annotations

import io
import math
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tiercut.codecs.base import DTYPES, TENSOR_REASONS
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.encoded import EncodedTensor
from tiercut.codecs.table import CODECS, codec
from tiercut.errors import BadTensor, InputError, SettingsError

Array = npt.NDArray[Any]
LOSSY = ("fp16", "int8", "fp16+zstd", "int8+zstd", "int4+zstd", "int2+zstd", "sparse8+zstd", "sparse4+zstd")
IMAGES = ("jpeg", "png", "webp", "jpeg-75", "jpeg-50", "jpeg-30", "jpeg-15", "webp-50")
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7)


def there_and_back(name: str, array: Array) -> Array:
    return CODECS[name].decode(CODECS[name].encode(array), dtype=array.dtype.name, shape=array.shape)


def activations(rng: np.random.Generator, *, relu: bool) -> Array:
    """Like a layer's output: smooth in the plane, channels of different spread."""
    coarse = rng.normal(size=(1, 32, 20, 20)).repeat(4, axis=2).repeat(4, axis=3)
    values = (coarse + 0.2 * rng.normal(size=coarse.shape)) * rng.uniform(0.5, 8, size=(1, 32, 1, 1))
    return (np.clip(values, 0, 6) if relu else values).astype(np.float32)


def refused(name: str, data: bytes, *, dtype: str = "float32", shape: tuple[int, ...] = (1, 16, 16, 3)) -> str:
    with pytest.raises(BadTensor) as caught:
        CODECS[name].decode(data, dtype=dtype, shape=shape)
    assert caught.value.reason in TENSOR_REASONS
    return caught.value.reason


@pytest.mark.parametrize("name", ["raw", "raw+zstd"])
@given(data=st.data())
def test_lossless_codec_gives_every_type_back_bit_for_bit(name: str, data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(st.sampled_from(list(DTYPES.values())), SHAPES))
    tensor = encode_tensor("x", array, name)
    back = decode_tensor(tensor)
    assert (tensor.codec, back.dtype, back.shape) == (name, array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", LOSSY)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_error_stays_within_the_bound(name: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(64,), (3, 30), (2, 3, 128), (1, 4, 12, 12), (1, 1, 9, 9)]))
    values = st.floats(-(2.0**126), 2.0**126, width=32) | st.floats(-10, 10, width=32) | st.floats(1000, 1001, width=32)
    array = data.draw(hnp.arrays(np.float32, shape, elements=values))
    error = np.abs(there_and_back(name, array).astype(np.float64) - array).max()
    assert error <= CODECS[name].error_bound(array)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("spread", [0.0, 1e-30, 1e-6, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("offset", [0.0, -1.0, 3e4, 1e-38])
def test_int8_bound_holds_for_any_offset_and_spread(dtype: str, spread: float, offset: float) -> None:
    rng = np.random.default_rng(1)
    for shape in ((2, 3, 150), (100,)):
        array = (offset + spread * rng.normal(size=shape)).astype(dtype)
        error = np.abs(there_and_back("int8", array).astype(np.float64) - array).max()
        assert error <= CODECS["int8"].error_bound(array)


def test_int8_bound_is_half_a_step_of_the_widest_row() -> None:
    array = np.zeros((1, 2, 16, 16), np.float32)
    array[0, 1, 0, 0] = 51.0
    assert CODECS["int8"].error_bound(array) == pytest.approx(0.1, rel=1e-3)


def test_int8_keeps_a_quiet_channel_beside_a_loud_one() -> None:
    rng = np.random.default_rng(2)
    array = rng.uniform(0, 1, size=(1, 2, 16, 16)).astype(np.float32)
    array[:, 1] *= 1000
    error = np.abs(there_and_back("int8", array) - array)
    assert error[:, 0].max() < 0.002


def test_relu_zeros_stay_zero_in_int8() -> None:
    array = activations(np.random.default_rng(3), relu=True)
    assert not there_and_back("int8", array)[array == 0].any()


def test_fp16_clamps_what_it_cannot_hold_and_counts_it_in_the_bound() -> None:
    array = np.array([1e6, -1e6, 65519, np.inf, -np.inf, np.nan, 1], np.float32)
    back = there_and_back("fp16", array)
    assert back.tolist()[:5] == [65504, -65504, 65504, math.inf, -math.inf]
    assert math.isnan(back[5])
    assert CODECS["fp16"].error_bound(array) == 1e6 - 65504


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_int8_refuses_what_it_cannot_bound_and_encode_tensor_falls_back(value: float) -> None:
    array = np.ones((1, 3, 16, 16), np.float32)
    array[0, 1, 2, 3] = value
    with pytest.raises(InputError):
        CODECS["int8"].encode(array)
    tensor = encode_tensor("x", array, "int8+zstd")
    assert tensor.codec == "raw+zstd"
    assert np.array_equal(decode_tensor(tensor), array, equal_nan=True)
    assert CODECS["int8"].error_bound(array) == math.inf


@pytest.mark.parametrize(
    ("array", "asked", "used"),
    [
        (np.arange(100), "int8", "raw"),
        (np.arange(100), "fp16+zstd", "raw+zstd"),
        (np.zeros((0, 3), np.float32), "int8", "raw"),
        (np.float32(1), "int8", "raw"),
        (np.zeros((1, 3, 8, 8), np.float32), "jpeg", "raw+zstd"),
        (np.zeros((1, 8, 8, 3), np.uint8), "int8+zstd", "raw+zstd"),
    ],
)
def test_tensor_that_a_codec_does_not_take_travels_losslessly(array: Array, asked: str, used: str) -> None:
    tensor = encode_tensor("x", np.asarray(array), asked)
    assert tensor.codec == used
    assert np.array_equal(decode_tensor(tensor), array)


@pytest.mark.parametrize("array", [np.zeros(3, complex), np.array(["a"]), np.array([None])])
def test_types_that_do_not_travel_are_refused(array: Array) -> None:
    with pytest.raises(InputError):
        encode_tensor("x", array, "raw")


def test_big_endian_and_strided_arrays_arrive_as_they_were() -> None:
    array = np.arange(24, dtype=">f4").reshape(4, 6)[::2, ::-1]
    for name in CODECS:
        assert np.array_equal(decode_tensor(encode_tensor("x", array, name)), array)


def test_unknown_codec_is_our_error_when_asked_for_and_theirs_when_it_came() -> None:
    with pytest.raises(SettingsError):
        codec("gzip")
    with pytest.raises(BadTensor, match="gzip"):
        decode_tensor(EncodedTensor(name="x", dtype="float32", shape=(1,), codec="gzip", data=memoryview(b"1234")))


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 16, 3), (1, 16, 12, 1), (5, 7, 1)])
@pytest.mark.parametrize("name", IMAGES)
def test_frame_comes_back_in_shape_and_nearly_in_colour(name: str, shape: tuple[int, ...]) -> None:
    frame = np.broadcast_to(np.arange(shape[-2], dtype=np.uint8)[:, None] * 9, shape).copy()
    back = there_and_back(name, frame)
    assert (back.shape, back.dtype.name) == (shape, "uint8")
    assert np.abs(back.astype(int) - frame).mean() <= {"png": 0, "jpeg-15": 15, "jpeg-30": 10}.get(name, 6)


@pytest.mark.parametrize("name", ["raw", "fp16", "int8"])
@pytest.mark.parametrize("shape", [(1, 32, 80, 80), (1, 40, 7, 7), (77,), (2, 10, 300)])
def test_estimate_of_plain_codecs_is_exact(name: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    assert CODECS[name].estimate_bytes("float32", shape) == len(CODECS[name].encode(array))


@pytest.mark.parametrize("name", ["raw+zstd", "fp16+zstd", "int8+zstd"])
def test_estimate_behind_zstd_is_near_for_linear_and_high_for_relu(name: str) -> None:
    rng = np.random.default_rng(5)
    estimate = CODECS[name].estimate_bytes("float32", (1, 32, 80, 80))
    linear, relu = (len(CODECS[name].encode(activations(rng, relu=relu))) for relu in (False, True))
    assert 0.85 < linear / estimate < 1.15
    assert 0.2 < relu / estimate < 1.0


@pytest.mark.parametrize("name", list(CODECS))
def test_codec_serves_several_threads_at_once(name: str) -> None:
    array = np.arange(3072, dtype=np.uint8).reshape(1, 32, 32, 3)
    array = array if name in IMAGES else array.astype(np.float32)
    wanted = there_and_back(name, array)
    got: list[Array] = []
    threads = [
        threading.Thread(target=lambda: got.extend(there_and_back(name, array) for _ in range(30))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 120
    assert all(np.array_equal(each, wanted) for each in got)


@pytest.mark.parametrize("name", list(CODECS))
def test_trailing_and_missing_bytes_are_refused(name: str) -> None:
    dtype = "uint8" if name in IMAGES else "float32"
    data = CODECS[name].encode(np.arange(768).reshape(1, 16, 16, 3).astype(dtype))
    refused(name, data + b"\x00", dtype=dtype)
    refused(name, data[:-1], dtype=dtype)
    refused(name, b"", dtype=dtype)


@pytest.mark.parametrize("name", list(CODECS))
def test_another_shape_is_refused(name: str) -> None:
    dtype = "uint8" if name in IMAGES else "float32"
    data = CODECS[name].encode(np.arange(768).reshape(1, 16, 16, 3).astype(dtype))
    refused(name, data, dtype=dtype, shape=(1, 16, 17, 3))
    refused(name, data, dtype=dtype, shape=(1, 2**31, 2**31, 3))
    refused(name, data, dtype="complex64")


def test_bool_of_another_byte_than_0_and_1_is_refused() -> None:
    assert refused("raw", b"\x00\x01\x02", dtype="bool", shape=(3,)) == "tensor_value"


@pytest.mark.parametrize("header", [b"\x02\x00\x00\x00\x01", b"\x00\x01\x00\x00\x01", b"\x01\x00\x00\x00\x02"])
def test_int8_header_that_does_not_fit_is_refused(header: bytes) -> None:
    data = header + bytes(3 + 8 + 768)
    assert refused("int8", data) == "tensor_header"


@pytest.mark.parametrize("scales", [(math.nan, 1.0), (0.0, math.nan), (math.inf, 1.0), (0.0, -1.0), (0.0, 1e37)])
def test_int8_scales_without_meaning_are_refused(scales: tuple[float, float]) -> None:
    data = b"\x00\x00\x00\x00\x01\x00\x00\x00" + struct.pack("<ff", *scales) + bytes(768)
    assert refused("int8", data) == "tensor_value"


def png_file(width: int, height: int, *extra: tuple[bytes, bytes]) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body)) for tag, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


BOMBS = {
    "zstd that says so": ("raw+zstd", zstandard.compress(bytes(200_000_000), 1), "float32"),
    "zstd of unknown size": (
        "raw+zstd",
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10**8)),
        "float32",
    ),
    # Declares 3072 bytes, then repeats a byte a million times.
    "zstd that lies": ("raw+zstd", bytes.fromhex("28b52ffd60000b") + bytes.fromhex("02001000") * 2000, "float32"),
    "png of 30000x30000": ("png", png_file(30000, 30000), "uint8"),
    "png with a text bomb": ("png", png_file(16, 16, (b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))), "uint8"),
}


@pytest.mark.parametrize("bomb", list(BOMBS))
def test_decompression_bomb_is_refused_without_inflating_it(bomb: str) -> None:
    name, data, dtype = BOMBS[bomb]
    tracemalloc.start()
    refused(name, data, dtype=dtype)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 + 2 * len(data)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("jpeg", {"format": "png"}),
        ("png", {"format": "jpeg"}),
        ("webp", {"format": "png"}),
        ("jpeg", {"format": "jpeg", "progressive": True}),
        ("webp", {"format": "webp", "lossless": True}),
        ("webp", {"format": "webp", "exif": b"Exif\0\0abc"}),
    ],
)
def test_other_formats_and_forms_of_image_are_refused(name: str, save: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, **save)
    assert refused(name, file.getvalue(), dtype="uint8") == "image_header"


@pytest.mark.parametrize("name", IMAGES)
def test_views_of_several_cameras_travel_as_one_picture(name: str) -> None:
    views = np.stack([np.full((16, 24, 3), value, np.uint8) for value in (20, 120, 220)])
    back = there_and_back(name, views)
    assert back.shape == views.shape
    assert [abs(float(view.mean()) - value) < 3 for view, value in zip(back, (20, 120, 220), strict=True)] == [True] * 3
    assert np.array_equal(back, views) or not CODECS[name].lossless
    assert not CODECS[name].accepts("uint8", (200, 100, 24, 3))


def test_docs_name_every_codec() -> None:
    written = (Path(__file__).parent.parent / "docs" / "codecs.md").read_text(encoding="utf-8")
    assert not [name for name in CODECS.own if f"`{name}`" not in written]
