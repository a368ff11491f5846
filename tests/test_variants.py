"""Exits and further input sizes of a bundle: chains of cuts that compute what the model does."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import tiercut
from tests.bundles import bundle_of, exits_bundle, grey_frames
from tests.models import EarlyExits, Residual, image
from tiercut.errors import BundleError, CutError, ExportError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import from_document, to_document
from tiercut.model.bundle_write import current_parts, mark, rewrite, write_contents
from tiercut.model.variants import ExitSpec, Leaving


def test_exits_stand_at_the_cut_whose_tensor_they_take() -> None:
    bundle = exits_bundle()
    assert [variant.name for variant in bundle.variants] == ["full", "early", "late", "full@8"]
    early, late = bundle.exits
    assert [t.shape for t in bundle.cuts[early.cut].tensors] == [(1, 4, 8, 8)]
    assert [t.shape for t in bundle.cuts[late.cut].tensors] == [(1, 8, 4, 4)]
    assert 0 < early.macs < late.macs < bundle.cuts[-1].macs
    assert bundle.variant("late").end == late.cut + 1


@pytest.mark.parametrize("name", ["full", "early", "late", "full@8"])
def test_every_pair_of_cuts_of_a_variant_gives_what_the_whole_gives(name: str) -> None:
    bundle, frame = exits_bundle(), grey_frames(1)[0]
    end = bundle.variant(name).end
    inputs = bundle.to_inputs(frame, name)
    whole = bundle.segment(0, end, variant=name)(inputs)
    for a in range(end + 1):
        head = bundle.segment(0, a, variant=name)(inputs)
        for b in range(a, end + 1):
            middle = bundle.segment(a, b, variant=name)(head)
            tail = bundle.segment(b, end, variant=name)(middle)
            assert tail.keys() == whole.keys()
            assert all(np.allclose(tail[key], whole[key], atol=1e-5) for key in whole)


def test_an_exit_gives_what_the_torch_module_gives() -> None:
    torch.manual_seed(0)
    module = EarlyExits().eval()
    bundle, frame = exits_bundle(), grey_frames(1)[0]
    with torch.no_grad():
        wanted = module((torch.tensor(frame, dtype=torch.float32)[None, None] - 128) / 64)
    for name, logits in zip(("full", "early", "late"), wanted, strict=True):
        (got,) = bundle.segment(0, bundle.variant(name).end, variant=name)(bundle.to_inputs(frame)).values()
        assert np.allclose(got, logits.numpy(), atol=1e-4)


def test_sizes_share_their_weights() -> None:
    bundle = exits_bundle()
    one, other = (onnx.load(bundle.folder / name, load_external_data=False) for name in ("model.onnx", "model-8.onnx"))
    places = [{t.name: [e.value for e in t.external_data] for t in m.graph.initializer} for m in (one, other)]
    shared = {name for name, place in places[1].items() if place and places[0].get(name) == place}
    assert {name for name, place in places[1].items() if place} == shared


def test_trunk_segments_are_the_same_for_an_exit() -> None:
    bundle = exits_bundle()
    late = bundle.variant("late")
    assert bundle.same_segment(late.end - 1, "late") == "full"
    assert bundle.same_segment(late.end, "late") == "late"
    assert late.cuts[:-1] == bundle.cuts[: late.end]


def test_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(CutError, match="full, early, late, full@8"):
        exits_bundle().segment(0, 1, variant="middle")
    with pytest.raises(CutError, match=r"variant 'early'"):
        exits_bundle().segment(0, exits_bundle().end, variant="early")


class SkippedExit(nn.Module):
    """Its exit takes the inside of a residual block, where two tensors are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 4)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inside = torch.relu(self.inside(image))
        return (inside + image).mean((2, 3)), self.head(inside.mean((2, 3)))


def test_head_at_a_cut_with_several_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'early' does not begin where the trunk can be left.*one tensor"):
        tiercut.export(SkippedExit(), image(8), tmp_path / "b", exits=["early"])
    assert not list(tmp_path.iterdir())


def test_more_exits_than_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="1 outputs, 1 names of exits"):
        tiercut.export(Residual(), image(8), tmp_path / "b", exits=["early"])


def test_size_of_a_model_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no other size"):
        tiercut.export(Residual(), image(8), tmp_path / "b", sizes=[(8, 8)])


def test_what_was_measured_of_exits_is_written_and_read(tmp_path: Path) -> None:
    bundle = exits_bundle()
    exits = tuple(replace(each, accuracy=0.8, temperature=1.5, calibration_error=0.02) for each in bundle.exits)
    leaving = (Leaving(threshold=0.9, shares={"early": 0.7, "late": 0.1, "full": 0.2}, accuracy=0.85),)
    contents = replace(bundle.contents, accuracy=0.9, exits=exits, leaving=leaving)
    again = rewrite(bundle, tmp_path / "b", contents)
    assert (again.accuracy, again.exits, again.leaving) == (0.9, exits, leaving)
    assert again.model != bundle.model
    assert again.variant("late").accuracy == 0.8


def test_weights_may_change_with_the_graph_as_it_is(tmp_path: Path) -> None:
    bundle = bundle_of("chain")
    parts = current_parts(bundle)
    (part,) = parts.values()
    for tensor in part.model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor, str(bundle.folder))
        if values.dtype == np.float32 and values.ndim:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(values), tensor.name))
    again = rewrite(bundle, tmp_path / "b", bundle.contents, parts=parts)
    (out,) = again.segment(0, again.end)({again.inputs[0].name: image().numpy()}).values()
    assert not out.any()
    assert again.cuts == bundle.cuts


def test_bundle_written_again_in_its_own_place_is_replaced_whole(tmp_path: Path) -> None:
    bundle = rewrite(exits_bundle(), tmp_path / "b", exits_bundle().contents)
    rewrite(bundle, bundle.folder, replace(bundle.contents, accuracy=0.5))
    assert Bundle.load(tmp_path / "b").accuracy == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_write_that_was_killed_leaves_the_old_bundle_and_no_rubbish(tmp_path: Path) -> None:
    bundle = rewrite(exits_bundle(), tmp_path / "b", exits_bundle().contents)
    bundle.folder.rename(tmp_path / ".b.0123abcd.old")  # killed between the two renames
    half = tmp_path / ".b.4567cdef.new"
    half.mkdir()
    os.utime(half, (0, 0))
    rewrite(exits_bundle(), tmp_path / "b", replace(bundle.contents, accuracy=0.5))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def broken(exits: tuple[ExitSpec, ...]) -> dict[str, object]:
    return to_document(replace(exits_bundle().contents, exits=exits))


def test_exit_at_a_cut_that_cannot_carry_one_is_no_bundle() -> None:
    early, late = exits_bundle().exits
    with pytest.raises(BundleError, match=r"exits\.late\.cut"):
        from_document(broken((early, replace(late, cut=exits_bundle().end))))
    with pytest.raises(BundleError, match="first cut to the last"):
        from_document(broken((late, early)))
    with pytest.raises(BundleError, match="each name of a variant once"):
        from_document(broken((early, replace(late, name="early"))))


def test_two_exits_at_one_cut_are_no_bundle() -> None:
    early, late = exits_bundle().exits
    with pytest.raises(BundleError, match="one exit at a cut"):
        from_document(broken((early, replace(late, cut=early.cut))))


def test_names_that_no_plan_could_carry_are_no_bundle() -> None:
    early, late = exits_bundle().exits
    with pytest.raises(BundleError, match="a name as"):
        from_document(broken((early, replace(late, name="x" * 300))))


def test_graph_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    bundle = rewrite(exits_bundle(), tmp_path / "b", exits_bundle().contents)
    (bundle.folder / "model.onnx").write_bytes(b"\x08\xff")
    contents = replace(
        bundle.contents, files={**bundle.contents.files, "model.onnx": mark(bundle.folder / "model.onnx")}
    )
    write_contents(contents, bundle.folder)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(bundle.folder).check_graphs()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accuracy", 1.5),
        ("accuracy", 10**400),
        ("temperature", 0),
        ("temperature", "hot"),
        ("name", "full"),
        ("after", None),
        ("cut", -1),
    ],
)
def test_damaged_field_of_an_exit_is_named(field: str, value: object) -> None:
    document = json.loads(json.dumps(to_document(exits_bundle().contents)))
    document["exits"][0][field] = value
    with pytest.raises(BundleError, match="exits"):
        from_document(document)


def test_files_outside_of_the_bundle_are_refused() -> None:
    document = json.loads(json.dumps(to_document(exits_bundle().contents)))
    document["sizes"][0]["graph"] = "../other.onnx"
    with pytest.raises(BundleError, match="a file of the bundle's folder"):
        from_document(document)


def test_plain_bundle_says_nothing_of_variants() -> None:
    document = to_document(bundle_of("chain").contents)
    assert not {"exits", "leaving", "sizes", "codecs", "accuracy"} & document.keys()
