"""Head, middle and tail give the whole, at every pair of cuts; and what a node's cache of segments holds."""

from __future__ import annotations

import itertools
import random
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

import tiercut
from tests.bundles import Tensors, bundle_of, folder, inputs_of
from tests.models import ARCHITECTURES, conv_onnx
from tiercut.errors import BundleError, CutError, InputError
from tiercut.model.bundle import Bundle
from tiercut.model.segments import Segment, SegmentCache
from tiercut.plan import FULL


def assert_same(got: Tensors, wanted: Tensors) -> None:
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert float(np.abs(got[name].astype(float) - array.astype(float)).max()) <= 1e-4


@pytest.mark.parametrize("architecture", ["chain", "multi_input", "multi_output"])
def test_every_pair_of_cuts_gives_the_whole(architecture: str) -> None:
    bundle, inputs = bundle_of(architecture), inputs_of(architecture)
    whole = bundle.segment(0, bundle.end)(inputs)
    heads = [bundle.segment(0, a)(inputs) for a in range(bundle.end + 1)]
    tails = [bundle.segment(b, bundle.end) for b in range(bundle.end + 1)]
    for a, b in itertools.combinations_with_replacement(range(bundle.end + 1), 2):
        assert_same(tails[b](bundle.segment(a, b)(heads[a])), whole)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sampled_pairs_of_cuts_give_the_whole(architecture: str) -> None:
    bundle, inputs = bundle_of(architecture), inputs_of(architecture)
    whole = bundle.segment(0, bundle.end)(inputs)
    draw = random.Random(architecture)  # noqa: S311 - the same pairs at every run
    for _ in range(20):
        a, b = sorted(draw.choices(range(bundle.end + 1), k=2))
        head = bundle.segment(0, a)(inputs)
        assert_same(bundle.segment(b, bundle.end)(bundle.segment(a, b)(head)), whole)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_segments_give_what_the_cut_table_says(architecture: str) -> None:
    bundle, inputs = bundle_of(architecture), inputs_of(architecture)
    for cut in bundle.cuts[:: max(1, bundle.end // 6)]:
        got = bundle.segment(0, cut.index)(inputs)
        assert [(n, a.shape, a.dtype.name) for n, a in got.items()] == [(t.name, t.shape, t.dtype) for t in cut.tensors]
        assert sum(array.nbytes for array in got.values()) == cut.bytes


def test_empty_segment_gives_what_it_takes() -> None:
    bundle, inputs = bundle_of("multi_input"), inputs_of("multi_input")
    got = bundle.segment(0, 0)(inputs)
    assert all(got[name] is array for name, array in inputs.items())


def test_tensor_that_only_passes_by_is_the_same_array() -> None:
    bundle, inputs = bundle_of("multi_input"), inputs_of("multi_input")
    assert bundle.segment(0, 1)(inputs)["sensors"] is inputs["sensors"]


def test_weights_stay_outside_of_the_segment() -> None:
    bundle = bundle_of("residual")
    model = onnx.ModelProto.FromString(bundle.graph.extract(0, bundle.end).encode())
    outside = [weight for weight in model.graph.initializer if weight.external_data]
    assert outside
    assert not any(weight.raw_data for weight in outside)


@pytest.mark.parametrize(("a", "b"), [(-1, 2), (3, 2), (0, 999)])
def test_segment_outside_of_the_model_is_refused(a: int, b: int) -> None:
    with pytest.raises(CutError, match="0 <= a <= b <= "):
        bundle_of("chain").segment(a, b)


def test_inputs_of_wrong_name_shape_or_type_are_refused() -> None:
    run = bundle_of("chain").segment(0, 2)
    good = inputs_of("chain")
    (name, array), *_ = good.items()
    for bad, said in (
        ({}, "only"),
        ({name: array[:, :2]}, r"float32\[1, 2, 16, 16\]"),
        ({name: array.astype(np.float64)}, "float64"),
        ({**good, "more": array}, "also"),
    ):
        with pytest.raises(InputError, match=said):
            run(bad)


def test_weights_replaced_after_loading_are_noticed(tmp_path: Path) -> None:
    bundle = tiercut.export(conv_onnx(tmp_path / "m.onnx"), None, tmp_path / "b")
    data = tmp_path / "b" / "model.data"
    data.write_bytes(data.read_bytes() + b"x")
    with pytest.raises(BundleError, match="not the file that was written"):
        bundle.segment(0, 1)


def test_graph_that_the_runtime_refuses_ends_in_our_error() -> None:
    with pytest.raises(BundleError, match="ONNX Runtime cannot load the segment broken"):
        Segment(b"no graph", folder=folder(), takes=(), gives=(), title="broken")


class Counting:
    """A bundle that counts how often a segment is built, and takes its time."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.model = bundle.model
        self.built = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def same_segment(self, b: int, variant: str) -> str:
        return self.bundle.same_segment(b, variant)

    def segment(self, a: int, b: int, threads: int = 1, variant: str = FULL) -> Segment:
        self.built += 1
        assert self.go_on.wait(10)
        return self.bundle.segment(a, b, threads, variant)


def test_cache_builds_a_segment_once_for_all_who_ask_at_the_same_time() -> None:
    bundle, cache = Counting(bundle_of("chain")), SegmentCache(10**9)
    bundle.go_on.clear()
    got: list[Segment] = []
    threads = [threading.Thread(target=lambda: got.append(cache.get(bundle, 0, 3))) for _ in range(8)]
    for thread in threads:
        thread.start()
    bundle.go_on.set()
    for thread in threads:
        thread.join()
    assert bundle.built == 1
    assert len(got) == 8
    assert len(set(map(id, got))) == 1


def test_cache_gives_up_the_least_recently_used_segment() -> None:
    bundle = Counting(bundle_of("chain"))
    one = bundle.segment(0, 1).memory_bytes
    cache = SegmentCache(int(2.5 * one))
    for b in (1, 2, 1, 3):
        cache.get(bundle, 0, b)
    assert (bundle.model, 0, 1, 1, FULL) in cache
    assert (bundle.model, 0, 2, 1, FULL) not in cache
    assert cache.used_bytes <= cache.max_bytes


def test_cache_keeps_one_segment_even_if_it_is_over_the_bound() -> None:
    bundle, cache = bundle_of("chain"), SegmentCache(1)
    first = cache.get(bundle, 0, 1)
    assert cache.get(bundle, 0, 1) is first
    cache.get(bundle, 0, 2)
    assert len(cache) == 1


def test_cache_tries_again_after_a_failure() -> None:
    bundle, cache = bundle_of("chain"), SegmentCache(10**9)
    for _ in range(2):
        with pytest.raises(CutError):
            cache.get(bundle, 5, 2)
    assert len(cache) == 0
