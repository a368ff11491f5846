"""What a result says, and how an outcome is read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from tests.bundles import exits_bundle
from tiercut.declared import encode_json
from tiercut.errors import BadEnvelope
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import probabilities
from tiercut.plan import Plan
from tiercut.protocol import events
from tiercut.protocol.frames import ClockStamp, Dropped, Stage, Work
from tiercut.protocol.results import read_journey, read_outcome
from tiercut.results.classes import top_labels
from tiercut.results.reading import read_outputs, write_result


def work(model: str) -> Work:
    stamp = ClockStamp("clock", 1.0)
    return Work(
        site="home",
        stream="cam",
        seq=7,
        model=model,
        plan=Plan(epoch=3, first_cut=1, second_cut=2, device="d", edge="e", cloud="c", codecs=("raw", "int8")),
        delivery="every",
        cut=2,
        tensors=(),
        captured_unix_s=0.5,
        captured=stamp,
        sent=stamp,
    )


def test_top_labels_are_probabilities_best_first() -> None:
    best = top_labels(probabilities(np.array([[0.0, 2.0, 1.0]], np.float32)), ["a", "b", "c"], top=2)
    assert [label.label for label in best] == ["b", "c"]
    assert best[0].score == pytest.approx(np.exp(2) / (1 + np.exp(1) + np.exp(2)), abs=1e-5)


def test_fewer_classes_than_asked_for_are_all_given() -> None:
    assert len(top_labels(np.array([0.2, 0.8]), ["a", "b"])) == 2


def test_result_names_plan_stages_and_links(chain: Bundle) -> None:
    stages = [Stage("d", "compute", 0.001), Stage("e", "wire", 0.02, emulated=True, payload_bytes=9)]
    outputs = {chain.outputs[0].name: np.array([[3.0, 1.0, 0.0, 0.0]], np.float32)}
    result = json.loads(
        write_result(
            work(chain.model),
            read_outputs(7, outputs, chain, chain.variants[0]),
            chain.name,
            stages=stages,
            finished_by="c",
            latency_s=0.03,
            fallback=None,
        )
    )
    assert (result["exit"], result["confidence"]) == ("full", pytest.approx(result["labels"][0]["score"]))
    assert "deadline_met" not in result
    assert result["labels"][0]["label"] == "cat"
    assert result["plan"]["codecs"] == ["raw", "int8"]
    assert result["stages"][1] == {"where": "e", "kind": "wire", "ms": 20.0, "bytes": 9, "emulated": True}
    assert result["emulated_links"] == ["e"]
    assert result["captured_at"] == "1970-01-01T00:00:00.500000Z"


def test_model_without_labels_gives_a_summary_that_is_json(residual: Bundle) -> None:
    outputs = {"small": np.array([1.0, np.nan]), "large": np.arange(100.0)}
    built = write_result(
        work(residual.model),
        read_outputs(7, outputs, residual, residual.variants[0]),
        residual.name,
        stages=(),
        finished_by="c",
        latency_s=None,
        fallback=None,
    )
    small, large = json.loads(built)["outputs"]
    assert small["values"] == [1.0, "nan"]
    assert (large["min"], large["max"], large["argmax"]) == (0.0, 99.0, 99)


@pytest.mark.parametrize(("latency_s", "met"), [(0.2, True), (0.4, False), (None, None)])
def test_result_of_a_frame_with_a_deadline_says_whether_it_was_met(
    chain: Bundle, latency_s: float | None, met: bool | None
) -> None:
    frame = structs.replace(work(chain.model), deadline_s=0.3)
    outputs = {chain.outputs[0].name: np.zeros((1, 4), np.float32)}
    read = read_outputs(7, outputs, chain, chain.variants[0])
    built = write_result(frame, read, chain.name, stages=(), finished_by="c", latency_s=latency_s)
    said = json.loads(built)
    assert (said["deadline_ms"], said["deadline_met"]) == (300.0, met)
    assert read_journey(built).deadline_met is met


def test_exit_scores_with_its_temperature() -> None:
    bundle = exits_bundle()
    logits = np.array([[0.0, 4.0, 0.0, 0.0]], np.float32)
    contents = replace(bundle.contents, exits=(replace(bundle.exits[0], temperature=4.0), *bundle.contents.exits[1:]))
    hot = replace(bundle, contents=contents)
    for each, sure in ((bundle, np.exp(4) / (np.exp(4) + 3)), (hot, np.exp(1) / (np.exp(1) + 3))):
        early = each.variant("early")
        read = read_outputs(7, {early.outputs[0].name: logits}, each, early)
        built = write_result(work(each.model), read, each.name, stages=(), finished_by="c", latency_s=None)
        assert json.loads(built)["confidence"] == pytest.approx(sure, abs=1e-5)


def test_attributes_tell_frames_of_two_runs_apart(chain: Bundle) -> None:
    attributes = dict(events.attributes(work(chain.model), kind=events.RESULT_TYPE, unix_s=1.0))
    assert attributes["source"] == "/tiercut/home/cam"
    assert attributes["id"] == "7-500"


def test_drop_and_result_of_one_frame_are_two_events(chain: Bundle) -> None:
    frame = work(chain.model)
    both = [dict(events.attributes(frame, kind=kind, unix_s=1.0)) for kind in (events.RESULT_TYPE, events.DROPPED_TYPE)]
    assert len({(each["source"], each["id"]) for each in both}) == 2
    assert both[0]["id"] == both[1]["id"]  # nodes know the frame by it


def test_outcome_is_read_from_results_and_drops() -> None:
    dropped = encode_json(Dropped(stream="cam", seq=4, where="e", reason="newer_frame"))
    assert read_outcome(dropped) == ("cam", 4)
    assert read_outcome(b'{"stream":"cam","seq":4,"label":"\\ud800"}') == ("cam", 4)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b'{"stream":"a/b","seq":1}', b'{"stream":1,"seq":1}', b"[" * 9999]
)
def test_what_is_no_outcome_is_refused(payload: bytes) -> None:
    with pytest.raises(BadEnvelope):
        read_outcome(payload)
