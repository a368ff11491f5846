"""Payloads of sensors that publish by themselves: those that are good, those that are bad, and bytes of any kind."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.json_payload import MAX_JSON_BYTES
from tiercut.sensing.payloads import MAX_PCM_BYTES, REASONS, form_of, read_payload
from tiercut.sensing.sensor_format import MAX_MESSAGE, Captured, Spoiled

NOW = 1_800_000_000.0
MB = 1024 * 1024


def mqtt(**more: Any) -> SourceSettings:
    return SourceSettings(sensor="mqtt", topic="a/b", **more)


def read(payload: bytes, **more: Any) -> Captured | Spoiled:
    return read_payload(mqtt(**more))(payload, NOW)


def good(payload: bytes, **more: Any) -> np.ndarray:
    captured = read(payload, **more)
    assert isinstance(captured, Captured), captured
    assert captured.at_unix_s == NOW
    return captured.frame


def spoiled(payload: bytes, **more: Any) -> str:
    """The reason; its sentence says what was expected, what came and what to do."""
    item = read(payload, **more)
    assert isinstance(item, Spoiled), item
    assert item.reason in REASONS
    assert ": expected " in item.message
    assert "; " in item.message
    return item.reason


def picture(form: str = "jpeg", size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 200 if mode == "L" else (200, 100, 50)).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_picture_of_any_format_is_read(form: str) -> None:
    frame = good(picture(form))
    assert (frame.shape, frame.dtype) == ((16, 24, 3), np.dtype(np.uint8))
    assert abs(int(frame[8, 8, 0]) - 200) < 6


def test_grey_picture_stays_grey_and_transparency_goes() -> None:
    assert good(picture("png", mode="L")).shape == (16, 24)
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (9, 8, 7, 100)).save(file, "png")
    assert good(file.getvalue())[0, 0].tolist() == [9, 8, 7]


def test_picture_in_text_and_in_json_is_read() -> None:
    text = base64.b64encode(picture())
    assert good(text).shape == (16, 24, 3)
    assert good(b"data:image/jpeg;base64," + text).shape == (16, 24, 3)
    inside = json.dumps({"device": "cam", "image": text.decode()}).encode()
    assert good(inside, json_path=("$.image",)).shape == (16, 24, 3)
    assert spoiled(b'{"image": 5}', json_path=("$.image",)) == "bad_image"
    assert spoiled(b"data:image/jpeg,abc") == "bad_image"


@pytest.mark.parametrize("payload", [b"no image", picture()[:300], picture("png")[:40], b"/9j/!!!!", b"\x00" * 2000])
def test_what_is_no_whole_picture_is_spoiled(payload: bytes) -> None:
    assert spoiled(payload) == "bad_image"


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that promises so many pixels."""
    chunk = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)


def test_picture_bomb_takes_no_memory() -> None:
    tracemalloc.start()
    for side in (5000, 12_000, 30_000, 2**31 - 1):
        assert spoiled(png_header(side, side) + b"\x00" * 100) in {"too_large", "bad_image"}
    assert tracemalloc.get_traced_memory()[1] < MB
    tracemalloc.stop()


def test_whole_picture_of_too_many_pixels_is_spoiled() -> None:
    assert spoiled(picture("png", (5000, 5000), "L")) == "too_large"


def test_empty_payload_is_spoiled() -> None:
    assert spoiled(b"") == "empty"


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("21.5", 21.5), (True, 1.0), (False, 0.0), ("ON", 1.0), ("off", 0.0), (-1e-3, -1e-3)],
)
def test_number_in_json_may_be_text_or_a_switch(value: object, number: float) -> None:
    payload = json.dumps({"x": {"y": value}}).encode()
    assert good(payload, format="json", json_path=("$.x.y",)).tolist() == [[pytest.approx(number)]]


@pytest.mark.parametrize("value", [None, "warm", {}, [[]], "NaN", float("inf"), 10**400, "1" * 80, [1, None]])
def test_what_is_no_number_is_spoiled(value: object) -> None:
    payload = json.dumps({"x": value}).encode()
    assert spoiled(payload, format="json", json_path=("$.x",)) in {"bad_number", "wrong_shape"}


def test_bare_number_or_word_is_a_payload() -> None:
    assert good(b"23.45", format="json", json_path=("$",))[0, 0] == np.float32(23.45)
    assert good(b"ON\n", format="json", json_path=("$",))[0, 0] == 1
    assert spoiled(b"unavailable", format="json", json_path=("$",)) == "bad_json"
    assert spoiled(b"nan", format="json", json_path=("$",)) == "bad_number"


def test_paths_of_channels_may_give_arrays() -> None:
    payload = b'{"x": [1, 2, 3], "y": [4, 5, 6]}'
    frame = good(payload, format="json", json_path=("$.x", "$.y"), rate_hz=50.0)
    assert frame.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert spoiled(b'{"x": [1, 2], "y": [4]}', format="json", json_path=("$.x", "$.y")) == "wrong_shape"


def test_one_path_may_give_all_channels() -> None:
    names = {"format": "json", "json_path": ("$.a",), "channels": ("x", "y")}
    assert good(b'{"a": [[1, 2], [3, 4]]}', **names).tolist() == [[1, 2], [3, 4]]
    assert good(b'{"a": [1, 2]}', **names).tolist() == [[1, 2]]
    assert spoiled(b'{"a": [1, 2, 3]}', **names) == "wrong_shape"
    assert spoiled(b'{"a": [[1, 2], [3]]}', **names) == "wrong_shape"


def test_path_of_many_matches_gives_their_values() -> None:
    payload = b'{"readings": [{"t": 1}, {"t": 2}, {"t": 4}]}'
    assert good(payload, format="json", json_path=("$.readings[*].t",), rate_hz=1.0).ravel().tolist() == [1, 2, 4]


def test_missing_path_names_what_is_there() -> None:
    item = read(b'{"humidity": 40, "battery": 9}', format="json", json_path=("$.temperature",))
    assert isinstance(item, Spoiled)
    assert item.reason == "no_such_path"
    assert "expected $.temperature, got an object with humidity, battery" in item.message


def test_senders_text_cannot_steer_a_terminal_nor_fill_a_status() -> None:
    for payload in (
        b'{"\\u001b[2J\\n\\ud800": 1}',
        b'{"x": "\\u001b]0;owned\\u0007\\r\\n"}',
        b"\x1b[31m\n",
        b"\x1b[2J\n" * 9999,
    ):
        for path in ("$.x", "$"):
            item = read(payload, format="json", json_path=(path,))
            assert isinstance(item, Spoiled)
            assert item.message.isprintable()
            assert ": expected " in item.message
    endless = Spoiled("bad_json", "a\n" * 10_000).message
    assert (endless[:3], endless[-1], len(endless)) == ("a?a", "…", MAX_MESSAGE)


@pytest.mark.parametrize("payload", [b"{", b"\xff\xfe\xfa", b"[" * 100_000, b'{"a":' * 50_000, b"online", b'"'])
def test_what_is_no_json_is_spoiled(payload: bytes) -> None:
    assert spoiled(payload, format="json", json_path=("$.x",)) == "bad_json"


def test_long_json_is_not_parsed() -> None:
    assert spoiled(b"[" + b"0," * MAX_JSON_BYTES, format="json", json_path=("$[0]",)) == "too_large"


@pytest.mark.parametrize(
    ("form", "payload", "values"),
    [
        ("s16le", b"\x00\x00\x00\x40\x00\x80", [0, 0.5, -1]),
        ("s16be", b"\x00\x00\x40\x00\x80\x00", [0, 0.5, -1]),
        ("u8", b"\x80\xc0\x00", [0, 0.5, -1]),
        ("s32le", b"\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x80", [0, 0.5, -1]),
        ("f32le", np.array([0, 0.5, -1], "<f4").tobytes(), [0, 0.5, -1]),
    ],
)
def test_pcm_becomes_parts_of_full_scale(form: Any, payload: bytes, values: list[float]) -> None:
    assert good(payload, format="pcm", rate_hz=8000.0, sample_format=form).ravel().tolist() == values


def test_pcm_channels_are_interleaved() -> None:
    payload = np.array([[1, 2], [3, 4]], "<i2").tobytes()
    stereo = {"format": "pcm", "rate_hz": 8000.0, "channels": ("left", "right")}
    assert (good(payload, **stereo) * 2**15).tolist() == [[1, 2], [3, 4]]
    assert spoiled(payload[:-2], **stereo) == "bad_pcm"
    assert spoiled(b"\x00" * (MAX_PCM_BYTES + 4), **stereo) == "too_large"


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "u1", "?", "<f2"])
def test_npy_of_plain_numbers_is_read(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    frame = good(npy(array), format="npy")
    assert np.array_equal(frame, array)
    assert frame.dtype.isnative
    assert np.array_equal(good(npy(np.asfortranarray(array)), format="npy"), array)


def test_npy_signal_is_float32_of_its_channels() -> None:
    frame = good(npy(np.arange(6).reshape(3, 2)), format="npy", rate_hz=50.0, channels=("a", "b"))
    assert (frame.shape, frame.dtype.name) == ((3, 2), "float32")
    assert good(npy(np.arange(6)), format="npy", rate_hz=50.0).shape == (6, 1)
    assert spoiled(npy(np.zeros((2, 3))), format="npy", rate_hz=50.0) == "wrong_shape"


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    "payload",
    [
        npy(np.array([{"a": 1}], dtype=object), pickled=True),
        npy(np.zeros(2, [("a", "<f4")])),
        npy(np.array(["text"])),
        npy(np.zeros(3))[:-1],
        npy(np.zeros(3)) + b"x",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
        header("{'descr': '<f4', 'shape': (1,)}", b"1234"),
        header("__import__('os').system('true')"),
        header("(" * 3000),
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY",
        b"PK\x03\x04",
    ],
)
def test_npy_of_anything_else_is_spoiled(payload: bytes) -> None:
    assert spoiled(payload, format="npy") == "bad_npy"


SOURCES = [
    {},
    {"json_path": ("$.image",)},
    {"format": "json", "json_path": ("$",)},
    {"format": "json", "json_path": ("$..a", "$.b[*]")},
    {"format": "pcm", "rate_hz": 16000.0, "sample_format": "f32le"},
    {"format": "npy"},
    {"format": "npy", "rate_hz": 5.0, "channels": ("a", "b")},
]
BEGINNINGS = [
    b"",
    picture()[:200],
    picture("png")[:60],
    picture("webp")[:60],
    npy(np.zeros(4))[:90],
    b'{"a":1,"b":[',
    b"data:image/png;base64,",
    b"/9j/",
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SOURCES), st.sampled_from(BEGINNINGS), st.binary(max_size=300))
def test_no_payload_raises(source: dict[str, Any], beginning: bytes, rest: bytes) -> None:
    item = read(beginning + rest, **source)
    assert isinstance(item, Captured) or item.reason in REASONS


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from([("$",), ("$.a",), ("$..a",), ("$.a[*]", "$.b"), ("$[?@.a > 1].b",)]))
def test_no_json_raises(document: object, paths: tuple[str, ...]) -> None:
    item = read(json.dumps(document).encode(), format="json", json_path=paths)
    if isinstance(item, Captured):
        assert item.frame.ndim == 2
        assert item.frame.shape[1] == len(paths)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"format": "json"}, "json_path"),
        ({"format": "json", "json_path": ("$.a[",)}, "RFC 9535"),
        ({"format": "json", "json_path": ("$.a", "$.b"), "channels": ("x",)}, "channels"),
        ({"format": "json", "json_path": ("$.a",), "units": ("g", "g")}, "units"),
        ({"format": "pcm"}, "rate_hz"),
        ({"format": "image", "json_path": ("$.a", "$.b")}, "one JSONPath"),
    ],
)
def test_settings_that_do_not_say_enough_are_refused(source: dict[str, Any], said: str) -> None:
    for check in (form_of, read_payload):
        with pytest.raises(SettingsError, match=said):
            check(mqtt(**source))
