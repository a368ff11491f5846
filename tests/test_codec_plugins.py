"""A codec of another package, installed for real: it is listed, planned with and sent with, and can break nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from tests.aio import async_test
from tests.installed import Install, installing
from tests.sites import by_hand, new_site, noise
from tests.test_envelope import sample_work
from tiercut.codecs.base import TENSOR_REASONS
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.encoded import EncodedTensor
from tiercut.codecs.plugin import GROUP
from tiercut.codecs.table import CODECS, codec
from tiercut.errors import BadTensor, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.profiling.measure import Options, measure_profile
from tiercut.protocol.envelope import decode_work, encode_work

ARRAY = np.linspace(0, 1, 300, dtype=np.float32).reshape(1, 3, 10, 10)

#: As fp16, with each byte turned over: nobody else can read it.
TURNED = """
import numpy as np
from tiercut.codecs.plain import Fp16

class Turned(Fp16):
    name = "turned"
    def pack(self, array):
        return np.invert(np.frombuffer(super().pack(array), np.uint8)).data
    def unpack(self, data, dtype, shape):
        return super().unpack(np.invert(np.frombuffer(data, np.uint8)).tobytes(), dtype, shape)

THING = Turned()
"""
FAILING = """
class Failing:
    name = "failing"
    lossless = False
    def accepts(self, dtype, shape): {accepts}
    def encode(self, array): {encode}
    def decode(self, data, *, dtype, shape): {decode}
    def estimate_bytes(self, dtype, shape): raise KeyError("size")
    def error_bound(self, array): raise KeyError("bound")
THING = Failing()
"""
WORKING = {"accepts": "return True", "encode": "return b'abc'", "decode": "return 1 / 0"}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    with installing(GROUP, CODECS, tmp_path, monkeypatch) as install:
        yield install


def test_codec_of_another_package_is_listed_behind_ours(install: Install) -> None:
    before = list(CODECS)
    install("turned", TURNED)
    assert list(CODECS) == [*before, "turned"]
    with pytest.raises(SettingsError, match=r"one of raw, .*, turned, got 'tuned'"):
        codec("tuned")


def test_tensor_travels_in_it_through_an_envelope(install: Install) -> None:
    install("turned", TURNED)
    sent = encode_tensor("x", ARRAY, "noise0.001+turned")
    (tensor,) = decode_work(encode_work(structs.replace(sample_work("raw"), tensors=(sent,)))).tensors
    assert (tensor.codec, len(tensor.data)) == ("turned", CODECS["turned"].estimate_bytes("float32", ARRAY.shape))
    assert np.abs(decode_tensor(tensor) - ARRAY).max() < 0.01


def test_node_without_it_refuses_the_tensor_as_one_of_an_unknown_codec() -> None:
    tensor = EncodedTensor(name="x", dtype="float32", shape=(2,), codec="turned", data=memoryview(b"1234"))
    with pytest.raises(BadTensor) as caught:
        decode_tensor(tensor)
    assert caught.value.reason == "unknown_codec"


def test_tensor_that_it_does_not_take_travels_losslessly(install: Install) -> None:
    install("turned", TURNED)
    assert encode_tensor("x", np.arange(10), "turned").codec == "raw+zstd"


@async_test
async def test_frames_of_a_plan_with_it_get_their_results(bundles: Path, chain: Bundle, install: Install) -> None:
    install("turned", TURNED)
    site = new_site(bundles)
    hub = site.hub(by_hand(chain, codecs=("raw", "turned")))
    async with site.running(hub, site.cloud(), site.edge(), site.device(noise(chain, frames=3))) as outcomes:
        await outcomes.until(results=3)
    assert all(each["plan"]["codecs"] == ["raw", "turned"] for each in outcomes.results)
    assert all(each["fallback"] is None for each in outcomes.results)


def test_its_bytes_and_times_are_measured_like_ours(chain: Bundle, install: Install) -> None:
    install("turned", TURNED)
    points = measure_profile(chain, options=Options(seconds=0.01)).codecs
    turned, halves = ({each.cut: each.bytes for each in points if each.codec == name} for name in ("turned", "fp16"))
    assert turned
    assert turned == halves


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise SystemExit(1)", "SystemExit"),
        ("THINGS = 1", "AttributeError"),
        ("THING = int", "TypeError: expected a codec object"),
        (TURNED.replace('name = "turned"', 'name = "other"'), "TypeError: expected a codec object"),
        ("class Short:\n    name = 'broken'\nTHING = Short()", "without accepts, encode"),
    ],
)
def test_package_that_cannot_be_used_is_named_and_costs_no_other_codec(install: Install, code: str, why: str) -> None:
    before = list(CODECS)
    install("broken", code)
    install("turned", TURNED)
    assert list(CODECS) == [*before, "turned"]
    with pytest.raises(SettingsError, match=r"'broken' of other_broken 1\.0 cannot be used") as caught:
        codec("broken")
    assert why in str(caught.value)


def test_package_whose_error_cannot_be_said_is_named(install: Install) -> None:
    install("broken", "class Mute(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Mute")
    with pytest.raises(SettingsError, match=r"'broken' of other_broken 1\.0 cannot be used: Mute"):
        codec("broken")


@pytest.mark.parametrize("encode", ["return 7", "return [1, 2]", "return 'text'"])
def test_codec_that_gives_no_bytes_is_stood_in_for(install: Install, encode: str) -> None:
    install("failing", FAILING.format(**WORKING | {"encode": encode}))
    assert encode_tensor("x", ARRAY, "failing").codec == "raw+zstd"


def test_name_of_noise_is_no_codecs(install: Install) -> None:
    install("noise1+raw", TURNED.replace('"turned"', '"noise1+raw"'))
    assert "noise1+raw" not in CODECS


def test_our_own_codec_wins_over_one_of_its_name(install: Install) -> None:
    own = CODECS["fp16"]
    install("fp16", TURNED.replace('"turned"', '"fp16"'))
    assert CODECS["fp16"] is own


def test_codec_that_cannot_encode_is_stood_in_for(install: Install) -> None:
    install("failing", FAILING.format(**WORKING | {"encode": "return 1 / 0"}))
    tensor = encode_tensor("x", ARRAY, "failing")
    assert tensor.codec == "raw+zstd"
    assert np.array_equal(decode_tensor(tensor), ARRAY)


@pytest.mark.parametrize("accepts", ["return 1 / 0", "return False", "raise SystemExit(1)"])
def test_codec_that_does_not_say_what_it_takes_takes_nothing(install: Install, accepts: str) -> None:
    install("failing", FAILING.format(**WORKING | {"accepts": accepts}))
    assert encode_tensor("x", ARRAY, "failing").codec == "raw+zstd"


@pytest.mark.parametrize("decode", ["return 1 / 0", "return None", "import numpy; return numpy.zeros(3)"])
def test_codec_that_cannot_decode_costs_the_frame_and_is_named(install: Install, decode: str) -> None:
    install("failing", FAILING.format(**WORKING | {"decode": decode}))
    with pytest.raises(BadTensor, match=r"other_failing 1\.0") as caught:
        decode_tensor(encode_tensor("x", ARRAY, "failing"))
    assert caught.value.reason == "codec_failed"
    assert caught.value.reason in TENSOR_REASONS


def test_codec_that_fails_to_estimate_counts_as_large_as_the_tensor(install: Install) -> None:
    install("failing", FAILING.format(**WORKING))
    assert CODECS["failing"].estimate_bytes("float32", (10, 10)) == 400
    assert CODECS["failing"].error_bound(ARRAY) == np.inf
