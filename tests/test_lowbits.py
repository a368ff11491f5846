"""Codecs of few bits: packing, 16-bit scales, zeros that stay zeros, and what hostile bytes may not do."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiercut.codecs.base import TENSOR_REASONS
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.lowbits import LowBits
from tiercut.codecs.rows import pack_bits, packed_length, shorten, unpack_bits, widen
from tiercut.codecs.sparse import Sparse
from tiercut.codecs.table import CODECS
from tiercut.errors import BadTensor

Array = npt.NDArray[Any]
FEW_BITS = ("int4+zstd", "int2+zstd", "sparse8+zstd", "sparse4+zstd")
SPARSE = ("sparse8+zstd", "sparse4+zstd")


def there_and_back(name: str, array: Array) -> Array:
    return decode_tensor(encode_tensor("x", array, name))


def feature_map(*, relu: bool, sides: tuple[int, int] = (20, 20)) -> Array:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 32, *sides)) * rng.uniform(0.5, 8, size=(1, 32, 1, 1))
    return (np.maximum(values, 0) if relu else values).astype(np.float32)


def refused(name: str, packed: bytes, shape: tuple[int, ...]) -> str:
    with pytest.raises(BadTensor) as caught:
        CODECS[name].decode(zstandard.compress(packed), dtype="float32", shape=shape)
    assert caught.value.reason in TENSOR_REASONS
    return caught.value.reason


@given(bits=st.sampled_from([2, 4, 8]), data=st.data())
def test_packed_elements_come_back(bits: int, data: st.DataObject) -> None:
    symbols = data.draw(hnp.arrays(np.uint8, st.integers(0, 40), elements=st.integers(0, 2**bits - 1)))
    packed = pack_bits(symbols, bits)
    assert len(packed) == packed_length(len(symbols), bits)
    assert unpack_bits(packed, len(symbols), bits).tolist() == symbols.tolist()


def test_first_element_is_in_the_lowest_bits() -> None:
    assert pack_bits(np.array([1, 2, 3, 4, 5], np.uint8), 4).tolist() == [0x21, 0x43, 0x05]
    assert pack_bits(np.array([1, 2, 3, 0, 1], np.uint8), 2).tolist() == [0b00111001, 1]


@given(hnp.arrays(np.float32, 5, elements=st.floats(-(2.0**126), 2.0**126, width=32)))
def test_shortened_scales_are_on_the_side_asked_for_and_near(values: Array) -> None:
    below, above = widen(shorten(values, up=False)), widen(shorten(values, up=True))
    assert np.all(below <= values)
    assert np.all(values <= above)
    assert np.all(above.astype(float) - below <= np.abs(values.astype(float)) * 2**-7 + 1e-40)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("spread", [0.0, 1e-30, 1e-6, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("offset", [0.0, -1.0, 3e4, 1e-38])
@pytest.mark.parametrize("name", FEW_BITS)
def test_bound_holds_for_any_offset_and_spread(name: str, dtype: str, spread: float, offset: float) -> None:
    rng = np.random.default_rng(1)
    for shape in ((2, 3, 150), (101,)):
        array = (offset + spread * rng.normal(size=shape)).astype(dtype)
        error = np.abs(there_and_back(name, array).astype(np.float64) - array).max()
        assert error <= CODECS[name].error_bound(array)


@pytest.mark.parametrize(("name", "part"), [("int4+zstd", 0.51 / 15), ("sparse4+zstd", 0.51 / 16)])
def test_error_is_half_a_step_of_the_elements_own_channel(name: str, part: float) -> None:
    array = feature_map(relu=True)
    worst = np.abs(there_and_back(name, array) - array).max(axis=(0, 2, 3))
    assert np.all(worst <= array.max(axis=(0, 2, 3)) * part)


def test_rounding_a_scale_leaves_no_element_outside_of_its_range() -> None:
    array = np.linspace(100.3, 100.4, 256, dtype=np.float32)  # bfloat16 knows 100 and 100.5
    assert np.abs(there_and_back("int4+zstd", array) - array).max() < 0.02


@pytest.mark.parametrize("name", FEW_BITS)
def test_relu_zeros_stay_zero(name: str) -> None:
    array = feature_map(relu=True)
    assert not there_and_back(name, array)[array == 0].any()


@pytest.mark.parametrize("name", SPARSE)
def test_zeros_of_rows_with_negative_elements_stay_zero(name: str) -> None:
    array = feature_map(relu=False)
    array[:, ::2] *= np.abs(array[:, ::2]) > 1
    assert not there_and_back(name, array)[array == 0].any()


def test_sparse_packing_of_rows_without_zeros_is_as_fine_as_int8() -> None:
    array = np.linspace(100, 101, 256, dtype=np.float32)
    assert np.abs(there_and_back("sparse8+zstd", array) - array).max() < 0.003


def test_sparse_packing_tells_small_elements_from_zeros() -> None:
    array = np.zeros((1, 1, 16, 16), np.float32)
    array[0, 0, 0, :4] = 1e-6, 0.5, 0.9, 1
    assert np.count_nonzero(there_and_back("sparse4+zstd", array)) == 4


@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
@pytest.mark.parametrize("name", FEW_BITS)
def test_constant_tensor_comes_back_within_a_percent(name: str, value: float) -> None:
    array = np.full((1, 2, 16, 16), value, np.float32)
    assert there_and_back(name, array) == pytest.approx(array, rel=0.04)


def test_fewer_bits_are_fewer_bytes_at_any_size() -> None:
    for sides in ((20, 20), (7, 7)):
        array = feature_map(relu=False, sides=sides)
        sizes = [len(CODECS[name].encode(array)) for name in ("int8+zstd", "int4+zstd", "int2+zstd")]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 1.5 * sizes[1] > 1.5 * 1.5 * sizes[2]


def test_sparse8_is_smaller_than_int8_after_a_relu() -> None:
    array = np.maximum(feature_map(relu=True) - 0.5, 0)
    assert len(CODECS["sparse8+zstd"].encode(array)) < 0.97 * len(CODECS["int8+zstd"].encode(array))


def test_outlier_does_not_take_the_levels_of_all_others_in_int2() -> None:
    array = feature_map(relu=False)
    array[0, 0, 0, 0] = 1000
    error = np.abs(there_and_back("int2+zstd", array) - array)
    assert error[0, 0, 0, 0] > 100
    assert np.sort(error.ravel())[-2] < 100


@pytest.mark.parametrize("name", FEW_BITS)
@pytest.mark.parametrize("head", [b"\x02\x00", b"\x00\x01", b"\x01\x00"])
def test_header_that_does_not_fit_is_refused(name: str, head: bytes) -> None:
    packed = bytes(CODECS[name].inner.pack(np.ones((16, 16), np.float32)))  # type: ignore[attr-defined]
    assert refused(name, head + packed[2:], (2, 8, 16)) in {"tensor_header", "tensor_size", "tensor_value"}


@pytest.mark.parametrize("name", FEW_BITS)
@pytest.mark.parametrize("scales", [b"\xc0\x7f\x80\x3f", b"\x80\x3f\xc0\x7f", b"\x80\x7f\x80\x3f", b"\x80\x3f\x80\xbf"])
def test_scales_without_meaning_are_refused(name: str, scales: bytes) -> None:
    packed = bytes(CODECS[name].inner.pack(np.ones((16, 16), np.float32)))  # type: ignore[attr-defined]
    assert refused(name, packed[:2] + scales + packed[6:], (16, 16)) == "tensor_value"


def test_largest_scales_that_are_taken_do_not_overflow() -> None:
    for codec in (LowBits(4, clipped=False), LowBits(2, clipped=True), Sparse(8), Sparse(4)):
        array = np.linspace(-1e38, 1e38, 256, dtype=np.float32)
        back = codec.decode(codec.encode(array), dtype="float32", shape=array.shape)
        assert np.isfinite(back).all()


@pytest.mark.parametrize("change", [b"\xff", b"\x00"])
def test_bitmap_that_contradicts_the_number_of_elements_is_refused(change: bytes) -> None:
    array = np.where(np.arange(256) % 3, 1.0, 0.0).astype(np.float32)
    packed = bytearray(Sparse(8).pack(array))
    packed[6:7] = change
    assert refused("sparse8+zstd", bytes(packed), (256,)) == "tensor_size"


def test_bits_behind_the_last_element_are_refused() -> None:
    packed = bytearray(LowBits(4, clipped=False).pack(np.ones(101, np.float32)))
    packed[-1] |= 0xF0
    assert refused("int4+zstd", bytes(packed), (101,)) == "tensor_value"


@given(data=st.binary(max_size=400), name=st.sampled_from(FEW_BITS), shape=st.sampled_from([(64,), (1, 3, 8, 8)]))
def test_any_bytes_are_decoded_or_refused(data: bytes, name: str, shape: tuple[int, ...]) -> None:
    with suppress(BadTensor):
        array = CODECS[name].decode(zstandard.compress(data), dtype="float32", shape=shape)
        assert array.shape == shape
        assert np.isfinite(array).all()
