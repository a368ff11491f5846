"""The envelope and the JSON of the human topics: what comes back, what is refused, what never changes."""

from __future__ import annotations

import contextlib
import json
import runpy
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from msgspec import structs
from msgspec.structs import replace

from tiercut.codecs.encode import decode_tensor
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadEnvelope, BadTensor
from tiercut.plan import Deadline
from tiercut.protocol.envelope import decode_work, encode_work
from tiercut.protocol.frames import Dropped, Work
from tiercut.protocol.nodes import (
    ClockProbe,
    EchoProbe,
    NodeStatus,
    PrepareSegment,
    Probe,
    Progress,
    Ready,
    Running,
    StreamControl,
    StreamPlan,
    Transfer,
)
from tiercut.refusal import ENVELOPE_REASONS

GOLDEN = Path(__file__).parent / "golden"
MAKE = runpy.run_path(str(GOLDEN / "make.py"))
sample_work: Callable[..., Work] = MAKE["sample_work"]


def changed(**fields: Any) -> bytes:
    """An envelope with some fields replaced; ``...`` removes one."""
    envelope: dict[str, Any] = msgpack.unpackb(encode_work(sample_work("raw"))) | fields
    packed: bytes = msgpack.packb({key: value for key, value in envelope.items() if value is not ...})
    return packed


def changed_tensor(**fields: Any) -> bytes:
    """An envelope whose tensor has some fields replaced."""
    return changed(tensors=[msgpack.unpackb(encode_work(sample_work("raw")))["tensors"][0] | fields])


@pytest.mark.parametrize("codec", MAKE["CODECS"])
def test_work_comes_back_as_it_was(codec: str) -> None:
    work = sample_work(codec)
    assert decode_work(encode_work(work)) == work


def test_work_without_optional_fields_comes_back() -> None:
    work = structs.replace(sample_work("raw"), deadline_s=None, label=None, stages=(), tensors=(), emulated=True)
    assert decode_work(encode_work(work)) == work


@pytest.mark.parametrize("codec", MAKE["CODECS"])
def test_golden_envelope_decodes(codec: str) -> None:
    work = decode_work((GOLDEN / f"work-{codec}.msgpack").read_bytes())
    array, wanted = decode_tensor(work.tensors[0]), MAKE["sample_array"](codec)
    assert work.tensors[0].codec == codec
    assert structs.replace(work, tensors=()) == structs.replace(sample_work(codec), tensors=())
    assert array.dtype == wanted.dtype
    off = {"jpeg": 16, "webp": 16, "png": 0, "int4+zstd": 0.14, "sparse4+zstd": 0.14, "int2+zstd": 0.7}.get(codec, 0.01)
    assert np.allclose(array, wanted, atol=off, rtol=0)


@pytest.mark.parametrize("codec", ["raw", "fp16", "int8"])
def test_golden_envelope_is_written_byte_for_byte(codec: str) -> None:
    assert encode_work(sample_work(codec)) == (GOLDEN / f"work-{codec}.msgpack").read_bytes()


def test_unknown_keys_of_a_newer_sender_are_ignored() -> None:
    assert decode_work(changed(colour="red", more={"a": [1, 2]})) == sample_work("raw")
    assert decode_work(changed_tensor(colour="red")) == sample_work("raw")
    assert decode_work(changed(captured=["cam-1", 12.5, "more"])) == sample_work("raw")


@pytest.mark.parametrize("said", [None, ...])
def test_optional_fields_may_be_nil_or_absent(said: object) -> None:
    optional = ("deadline_s", "label", "return_to", "emulated")
    bare = structs.replace(sample_work("raw"), deadline_s=None, label=None, return_to=None, emulated=False)
    assert decode_work(changed(**dict.fromkeys(optional, said))) == bare
    plan = msgpack.unpackb(encode_work(sample_work("raw")))["plan"] | {"threshold": None, "deadline": None}
    assert decode_work(changed(plan=plan)) == sample_work("raw")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_msgpack"),
        (b"\xc1", "not_msgpack"),
        (b"\x93\x01\x02\x03", "not_a_map"),
        (b"{}", "not_msgpack"),
        (encode_work(sample_work("raw")) + b"\x00", "not_msgpack"),
        (encode_work(sample_work("raw"))[:-1], "not_msgpack"),
        (b"\x82\xa1v\x01\xa1v\x01", "duplicate_key"),
        (b"\x91" * 5000, "not_msgpack"),
        (b"\xdf\xff\xff\xff\xff", "not_msgpack"),
        (b"\x81\xa1v\xc6\xff\xff\xff\xff", "not_msgpack"),
        (b"\x81\xa1v\xc7\x00\xff", "not_msgpack"),
        (b"\x81\xc4\x01v\x01", "missing_field"),
        (changed(v=2), "unknown_version"),
        (changed(v=True), "bad_type"),
        (changed(seq=...), "missing_field"),
        (changed(seq=-1), "bad_number"),
        (changed(seq=1.5), "bad_type"),
        (changed(seq=2**53), "bad_number"),
        (changed(site="a/b"), "bad_name"),
        (changed(model="x"), "bad_model"),
        (changed(delivery="soon"), "bad_delivery"),
        (changed(deadline_s=float("nan")), "bad_number"),
        (changed(captured=["c"]), "bad_type"),
        (changed(captured=["c", float("inf")]), "bad_number"),
        (changed(stages=[["cam", "nap", 1.0, False]]), "bad_stage"),
        (changed(stages=[["cam"]]), "bad_stage"),
        (changed(stages=[["cam", "queue", 1.0, False], ["c/m", "queue", 1.0, False]]), "bad_name"),
        (changed(label="x" * 257), "bad_text"),
        (changed(plan={"epoch": 1}), "missing_field"),
        (changed(plan=[]), "bad_type"),
        (changed(tensors=[1]), "not_a_map"),
        (changed_tensor(dtype="object"), "unknown_dtype"),
        (changed_tensor(codec="pickle!"), "unknown_codec"),
        (changed_tensor(shape=[-1]), "bad_shape"),
        (changed_tensor(shape=[True]), "bad_type"),
        (changed_tensor(shape=[1] * 9), "too_many"),
        (changed_tensor(shape=[2**40]), "tensors_too_big"),
        (changed_tensor(shape=[2**62, 0]), "tensors_too_big"),
        (changed_tensor(data="text"), "bad_type"),
        (changed_tensor(name=""), "bad_tensor_name"),
    ],
)
def test_bad_envelope_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadEnvelope) as caught:
        decode_work(data)
    assert caught.value.reason == reason
    assert reason in ENVELOPE_REASONS


@pytest.mark.parametrize("codecs", [["raw"], ["raw", "g zip"], [1, 2], ["raw"] * 3])
def test_plan_with_wrong_codecs_is_refused(codecs: list[object]) -> None:
    plan = msgpack.unpackb(encode_work(sample_work("raw")))["plan"] | {"codecs": codecs}
    with pytest.raises(BadEnvelope):
        decode_work(changed(plan=plan))


def test_codec_of_a_bundle_that_the_reader_does_not_have_shows_when_it_is_decoded() -> None:
    work = decode_work(changed_tensor(codec="bottleneck-8+int4"))
    with pytest.raises(BadTensor) as caught:
        decode_tensor(work.tensors[0])
    assert caught.value.reason == "unknown_codec"


def test_tensors_may_not_declare_more_than_the_reader_allows_together() -> None:
    tensor = msgpack.unpackb(encode_work(sample_work("raw")))["tensors"][0]
    with pytest.raises(BadEnvelope, match="decoded"):
        decode_work(changed(tensors=[tensor] * 3), max_tensor_bytes=1024)


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\x00\x07\xa1\x20" + b"\x80" * 500_000,
        b"\xdc\x00\xfa" + (b"\xdc\x00\xfa" + (b"\x98" + b"\x80" * 8) * 250) * 250,
        b"\xdc\x00\xfa" + (b"\xdc\x00\xfa" + (b"\x98" + b"\x90" * 8) * 250) * 250,
        b"\xdc\x01\x00" * 100_000,
        b"\x81\xa1v" * 100_000,
    ],
    ids=["one list of maps", "maps in lists", "lists in lists", "deep lists", "deep maps"],
)
def test_half_a_megabyte_of_empty_containers_costs_little_memory(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(BadEnvelope):
        decode_work(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


PLAN_MESSAGE = StreamPlan(stream="porch", model="5a" * 32, model_name="lite0", plan=sample_work("raw").plan, reason="ü")
DROPPED = Dropped(stream="porch", seq=7, where="nuc", reason="past_deadline", message="too late")
STATUS = NodeStatus(node="nuc", tier="edge", state="online", version="0.1.0", models={"a": "b"}, load={"waiting": 2.0})
PREPARE = PrepareSegment(site="home", stream="porch", epoch=3, model="5a" * 32, start=1, stop=4)
READY = Ready(stream="porch", epoch=3, node="nuc", ok=False, message="no memory", tier="edge")
LINK_PROBE = Probe(tier="cloud", node="dc", sizes=(200, 4000))
PROGRESS = Progress(
    transfers=(Transfer(tier="cloud", node="dc", payload_bytes=200, seconds=0.25, arrived=True),),
    running=(Running(model="5a" * 32, start=0, stop=2, seconds=1.5),),
)
PROBE = ClockProbe(clock_id="nuc-1", asked_s=1.5, heard_s=2.5)


def test_json_messages_come_back_as_they_were() -> None:
    assert decode_json(StreamPlan, encode_json(PLAN_MESSAGE)) == PLAN_MESSAGE
    assert decode_json(Dropped, encode_json(DROPPED)) == DROPPED
    assert decode_json(NodeStatus, encode_json(STATUS)) == STATUS
    assert decode_json(ClockProbe, encode_json(PROBE)) == PROBE
    echo = EchoProbe(**structs.asdict(PROBE), padding="x" * 60_000)
    assert decode_json(ClockProbe, encode_json(echo)) == PROBE
    assert decode_json(PrepareSegment, encode_json(PREPARE)) == PREPARE
    assert decode_json(Ready, encode_json(READY)) == READY
    assert decode_json(Probe, encode_json(LINK_PROBE)) == LINK_PROBE
    assert decode_json(Progress, encode_json(PROGRESS)) == PROGRESS
    for control in (StreamControl(mode="freeze"), StreamControl(mode="plan", plan=PLAN_MESSAGE.plan)):
        assert decode_json(StreamControl, encode_json(control)) == control


@pytest.mark.parametrize(
    "data",
    [
        {"tier": "edge", "node": "nuc", "sizes": []},
        {"tier": "edge", "node": "nuc", "sizes": [1] * 5},
        {"tier": "edge", "node": "nuc", "sizes": [10**9]},
        {"tier": "edge", "node": "nuc", "sizes": [True]},
        {"tier": "hub", "node": "nuc", "sizes": [1]},
        {"tier": "edge", "node": "a/b", "sizes": [1]},
    ],
)
def test_probe_that_asks_for_too_much_is_refused(data: object) -> None:
    with pytest.raises(BadEnvelope):
        decode_json(Probe, json.dumps(data).encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b"[]", "not_a_map"),
        (b"[" * 60_000, "not_json"),
        (b" " * 70_000, "envelope_too_big"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"seq":NaN}', "bad_number"),
        (b'{"seq":1e999}', "missing_field"),
        (b'{"seq":' + b"9" * 5000 + b"}", "not_json"),
        (json.dumps({"stream": "a", "seq": "1", "where": "b", "reason": "c"}).encode(), "bad_type"),
        (json.dumps({"stream": "a", "seq": 1, "where": "b", "reason": "c d"}).encode(), "bad_name"),
    ],
)
def test_bad_json_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadEnvelope) as caught:
        decode_json(Dropped, data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("cls", [Dropped, ClockProbe, NodeStatus, StreamControl, PrepareSegment])
@pytest.mark.parametrize("field", ["unknown", "stream", "clock_id", "plan", "models"])
@pytest.mark.parametrize("levels", [100, 450, 600, 900, 990, 5000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeply_nested_json_is_refused(cls: type, field: str, levels: int, opening: str, closing: str) -> None:
    inner = opening * levels + "1" + closing * levels
    with pytest.raises(BadEnvelope):
        decode_json(cls, f'{{"{field}":{inner}}}'.encode())


def test_maps_in_place_of_a_tensors_bytes_are_refused_at_once() -> None:
    bomb = b"\xdd" + (100_000).to_bytes(4) + b"\x80" * 100_000
    data = msgpack.packb(msgpack.unpackb(encode_work(sample_work("raw"))) | {"tensors": [{"data": "@"}]}).replace(
        b"\xa1@", bomb
    )
    with pytest.raises(BadEnvelope, match="as bytes") as caught:
        decode_work(data)
    assert caught.value.reason == "bad_type"


def memory_of(data: bytes) -> int:
    """The most that reading an envelope takes, refused or not."""
    tracemalloc.start()
    with contextlib.suppress(BadEnvelope):
        decode_work(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def with_raw(key: bytes, value: bytes) -> bytes:
    """A good envelope with one more field, given as msgpack."""
    packed = changed()
    count = int.from_bytes(packed[1:3])
    return packed[:1] + (count + 1).to_bytes(2) + packed[3:] + key + value


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\x00\x0a\xae\x60" + b"\x80" * 700_000,
        b"\xdd\x00\x0a\xae\x60" + b"\x90" * 700_000,
        b"\xdb\x00\x0a\xae\x60" + b"x" * 699_996 + "\U0001f600".encode(),
    ],
    ids=["empty maps", "empty lists", "a text that takes four bytes for each"],
)
def test_bomb_in_a_field_that_nobody_knows_costs_little_memory(bomb: bytes) -> None:
    assert memory_of(with_raw(b"\xa1?", bomb)) < 200_000


def test_bombs_where_a_text_or_a_tensor_should_be_cost_little_memory() -> None:
    long = b"\xdb\x00\x7a\x12\x00" + b"x" * 7_999_996 + "\U0001f600".encode()  # in memory four times as much
    assert memory_of(changed(label=...).replace(b"\xde\x00\x10", b"\xde\x00\x11") + b"\xa5label" + long) < 200_000
    assert memory_of(with_raw(long, b"\x01")) < 200_000
    for tensors in (long, [long.decode("latin-1")], [{"name": "x" * 8_000_000, "data": b""}]):
        assert memory_of(changed(tensors=tensors)) < 200_000


def test_field_that_stands_twice_is_refused_wherever_it_is() -> None:
    good = encode_work(sample_work("raw"))
    twice = [
        with_raw(b"\xa3seq", b"\x07"),
        with_raw(b"\xa1?", b"\x01").replace(b"\xde\x00\x12", b"\xde\x00\x13") + b"\xa1?\x01",
        good.replace(b"\xa4plan\x88", b"\xa4plan\x89\xa5epoch\x03"),
        good.replace(b"\x85\xa4name", b"\x86\xa4data\xc4\x00\xa4name"),
    ]
    for data in twice:
        with pytest.raises(BadEnvelope) as caught:
            decode_work(data)
        assert caught.value.reason == "duplicate_key"
    due = structs.replace(sample_work("raw").plan, deadline=Deadline(seconds=0.5))
    packed = encode_work(structs.replace(sample_work("raw"), plan=due))
    with pytest.raises(BadEnvelope, match="each key once"):
        decode_work(packed.replace(b"\xa8deadline\x84", b"\xa8deadline\x85\xa4drop\xc3"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"site": b"home"}, "bad_type"),
        ({"seq": 2**64 - 1}, "bad_number"),
        ({"captured_unix_s": float("nan")}, "bad_number"),
        ({"captured_unix_s": 1e300}, "bad_clock"),
        ({"sent": ["c", -1e300]}, "bad_clock"),
        ({"sent": ["", 1.0]}, "bad_clock"),
        ({"stages": [["cam", "compute", float("nan"), False]]}, "bad_number"),
        ({"stages": [["cam", "compute", -1.0, False]]}, "bad_stage"),
        ({"stages": [["cam", "compute", 1.0, False, 2**41]]}, "bad_stage"),
        ({"stages": [["a/b", "compute", 1.0, False]]}, "bad_name"),
        ({"stages": [["cam", "compute", 1.0, False]] * 65}, "too_many"),
        ({"deadline_s": 0}, "bad_deadline"),
        ({"v": 2, "seq": "seven"}, "unknown_version"),
        ({"plan": {"epoch": -1}}, "bad_plan"),
        ({"plan": None}, "missing_field"),
        ({"tensors": [{"name": "x"}] * 257}, "too_many"),
        ({str(k): k for k in range(64)}, "not_msgpack"),
    ],
)
def test_field_out_of_its_limits_is_refused_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadEnvelope) as caught:
        decode_work(changed(**fields))
    assert caught.value.reason == reason


def test_text_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(BadEnvelope) as caught:
        decode_work(encode_work(sample_work("raw")).replace(b"porch.jpg", b"porch\xff\xfe\xfd\xfc"))
    assert caught.value.reason == "not_msgpack"


def test_half_of_a_surrogate_pair_becomes_a_question_mark_on_the_way_in_and_out() -> None:
    said = json.dumps({"stream": "a", "seq": 1, "where": "b", "reason": "c", "message": "\udcff\U0001f600"})
    dropped = decode_json(Dropped, said.encode())
    assert dropped.message == "?\U0001f600"
    assert b'"a?"' in encode_json(replace(dropped, message="a\udcff"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"load":{"a":NaN}', "bad_number"),
        ('{"load":{"a":1e999}', "bad_number"),
        ('{"load":{"a":' + "9" * 400 + "}", "bad_number"),
        ('{"load":{"a":true}', "bad_type"),
        ('{"load":{"a":1,"a":2}', "duplicate_key"),
        ('{"load":' + '{"a":' * 12_000, "not_json"),
        ('{"load":[' + "{}," * 20_000 + "{}]", "bad_type"),
        ('{"load":{' + ",".join(f'"{k}":1' for k in range(1025)) + "}", "too_many"),
        ('{"power_watts":-1', "bad_status"),
        ('{"sent_unix_s":1e300', "bad_clock"),
    ],
)
def test_status_out_of_its_limits_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadEnvelope) as caught:
        decode_json(NodeStatus, (text + ',"node":"n","tier":"edge","state":"online","version":"1"}').encode())
    assert caught.value.reason == reason


def test_numbers_and_texts_of_other_libraries_are_said_as_plain_ones() -> None:
    said = NodeStatus(node=np.str_("n"), tier="edge", state="online", version="1", load={"busy": np.float64(0.5)})
    assert decode_json(NodeStatus, encode_json(said)).load == {"busy": 0.5}
    numbers: dict[str, Any] = {"waiting": np.int64(3), "busy": np.float32(0.5)}
    assert decode_json(NodeStatus, encode_json(structs.replace(said, load=numbers))).load == {"waiting": 3, "busy": 0.5}
    late = structs.replace(sample_work("raw"), captured_unix_s=np.float64(2.5))
    assert decode_work(encode_work(late)).captured_unix_s == 2.5
    with pytest.raises(NotImplementedError, match="no message can say a complex"):
        encode_json(replace(said, load={"busy": 1j}))


def test_null_in_json_is_the_same_as_nothing() -> None:
    said = b'{"mode":"auto","plan":null,"id":null}'
    assert decode_json(StreamControl, said) == StreamControl(mode="auto")


def test_refusal_names_the_field_what_was_expected_and_what_came() -> None:
    with pytest.raises(BadEnvelope, match=r"'plan\.first_cut' of 0 to \d+, got -1;"):
        decode_work(changed(plan=msgpack.unpackb(encode_work(sample_work("raw")))["plan"] | {"first_cut": -1}))
    with pytest.raises(BadEnvelope, match=r"'stages\[1\]\[1\]' as one of .*queue.*, got 'nap';"):
        decode_work(changed(stages=[["cam", "compute", 1.0, False], ["cam", "nap", 1.0, False]]))
    with pytest.raises(BadEnvelope, match=r"'transfers\[0\]\.node', got None"):
        decode_json(Progress, b'{"transfers":[{"tier":"edge","bytes":1,"seconds":1,"arrived":true}]}')
