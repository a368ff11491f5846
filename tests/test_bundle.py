"""Bundles on disk: what is checked before anything of them is believed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiercut
from tests.models import conv_onnx
from tiercut.errors import BundleError, ChecksumError, InputError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import identity


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    tiercut.export(conv_onnx(folder / "conv.onnx"), None, folder / "bundle", labels=list("abcdefghijklmnop"))
    return folder / "bundle"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``bundle.json`` as somebody would who also corrects the checksum."""
    path = folder / "bundle.json"
    document = json.loads(path.read_text())
    change(document)
    document["model"] = identity(document)
    path.write_text(json.dumps(document))


def test_bundle_survives_a_move(original: Path, copy: Path) -> None:
    assert Bundle.load(copy).model == Bundle.load(original).model
    assert Bundle.load(copy).labels == tuple("abcdefghijklmnop")
    assert Bundle.load(copy).outputs[0].scores == "softmax"


@pytest.mark.parametrize("name", ["model.onnx", "model.data"])
def test_changed_file_is_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ChecksumError, match=name):
        Bundle.load(copy)


def test_changed_json_is_noticed(copy: Path) -> None:
    path = copy / "bundle.json"
    path.write_text(path.read_text().replace('"b"', '"dog"'))
    with pytest.raises(ChecksumError, match=r"bundle\.json"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "model.data"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.load(copy)


def test_other_version_is_refused(copy: Path) -> None:
    rewrite(copy, lambda document: document.update(format="tiercut-bundle/2"))
    with pytest.raises(BundleError, match="expected tiercut-bundle/1, got 'tiercut-bundle/2'"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("cuts"), "'cuts'"),
        (lambda d: d.update(labels=7), "'labels'"),
        (lambda d: d["files"].pop("model.data"), r"'files\.model\.data'"),
        (lambda d: d["files"]["model.onnx"].update(sha256="../../etc"), "64 hex digits"),
        (lambda d: d["cuts"][1].update(macs=-1), r"'cuts\[1\]\.macs'"),
        (lambda d: d["cuts"][1].update(macs=True), r"'cuts\[1\]\.macs'"),
        (lambda d: d["cuts"][1]["tensors"][0].update(dtype="complex64"), r"'cuts\[1\]\.tensors\[0\]\.dtype'"),
        (lambda d: d["cuts"][1]["tensors"][0].update(shape=[1, -3]), "shape"),
        (lambda d: d["cuts"][1].update(bytes=3), "the sum of its tensors"),
        (lambda d: d["cuts"].clear(), "cut 0"),
        (lambda d: d["outputs"].clear(), "the tensors of the last cut"),
        (lambda d: d["frame"].update(kind="sound"), r"'frame\.kind'"),
        (lambda d: d["frame"].update(shape=[1]), "'frame'"),
    ],
)
def test_wrong_field_is_named(copy: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    rewrite(copy, change)
    with pytest.raises(BundleError, match=said):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '"\ud800"'.encode("utf-8", "surrogatepass").decode("latin-1")]
)
def test_what_is_no_json_object_is_refused(copy: Path, text: str) -> None:
    (copy / "bundle.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.load(copy)


@pytest.mark.parametrize("value", ["\ud800", *(json.loads("[" * n + "]" * n) for n in (450, 600, 900))])
def test_field_that_no_text_or_stack_can_hold_is_refused(copy: Path, value: Any) -> None:
    document = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(document | {"files": {"model.onnx": value}}))
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.load(copy)


def test_cut_table_of_another_graph_is_refused(copy: Path) -> None:
    rewrite(copy, lambda document: document["cuts"].pop(1))
    with pytest.raises(BundleError, match="does not belong"):
        Bundle.load(copy).segment(0, 1)


def test_one_frame_is_not_enough_for_two_inputs(original: Path) -> None:
    bundle = Bundle.load(original)
    assert list(bundle.to_inputs(np.zeros((1, 3, 8, 8), np.float32))) == ["x"]
    with pytest.raises(InputError, match=r"expected float32\[1, 3, 8, 8\]"):
        bundle.to_inputs(np.zeros((8, 8, 3), np.uint8))


def test_reading_a_bundle_imports_neither_torch_nor_onnx(original: Path) -> None:
    program = (
        f"import sys, tiercut; tiercut.Bundle.load({str(original)!r}).cuts;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_running_a_segment_imports_no_torch(original: Path) -> None:
    program = f"import sys, tiercut; tiercut.Bundle.load({str(original)!r}).segment(0, 2);print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
