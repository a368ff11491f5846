"""The text of ``bundle.json``, version 1: what stands in it, and how every field is checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from tiercut.cuts import ITEM_BYTES, CutPoint, TensorSpec
from tiercut.errors import BundleError, ChecksumError, SettingsError
from tiercut.preprocess import FrameKind, FrameSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "tiercut-bundle/1"
JSON_FILE = "bundle.json"
GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.data"

#: What an output's numbers are: logits that a softmax turns into scores, or what they are.
Scores = Literal["softmax", "as-is"]
SCORES: tuple[Scores, ...] = get_args(Scores)

_FRAME_FIELDS: Mapping[FrameKind, tuple[str, ...]] = {
    "image": ("kind", "size", "channels", "resize", "crop_ratio", "mean", "std"),
    "tensor": ("kind", "shape", "dtype"),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Field = TypeVar("_Field")


@dataclass(frozen=True, slots=True)
class FileMark:
    """Size in bytes and SHA-256 in hex of a file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output of the model, and how its numbers become scores."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that ``bundle.json`` says, except for the format and the identity that follows from the rest."""

    name: str
    files: Mapping[str, FileMark]
    frame: FrameSpec
    outputs: tuple[OutputSpec, ...]
    labels: tuple[str, ...] | None
    cuts: tuple[CutPoint, ...]


def identity(document: Mapping[str, Any]) -> str:
    """SHA-256 in hex over the document, and so over its files' checksums; its name and this field itself left out.

    It changes whenever a result could: with the graph, a weight, the preprocessing, a label, a cut's number.
    """
    counted = {key: value for key, value in document.items() if key not in {"model", "name"}}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def to_document(contents: Contents) -> dict[str, Any]:
    """What to write into ``bundle.json``."""
    frame = contents.frame
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": contents.name,
        "files": {name: {"bytes": mark.bytes, "sha256": mark.sha256} for name, mark in contents.files.items()},
        "frame": {field: _plain(getattr(frame, field)) for field in _FRAME_FIELDS[frame.kind]},
        "outputs": [
            {"name": out.name, "shape": list(out.shape), "dtype": out.dtype, "scores": out.scores}
            for out in contents.outputs
        ],
        "labels": None if contents.labels is None else list(contents.labels),
        "cuts": [_cut_document(cut) for cut in contents.cuts],
    }
    return {"model": identity(document), **document}


def from_document(document: object) -> tuple[str, Contents]:
    """Check a document and take it apart.

    Returns:
        The bundle's identity, and what it says.

    Raises:
        BundleError: a field is missing, or not what it should be; or the format is of another version.
        ChecksumError: the document was changed after it was written.
    """
    root = _Fields(document, "")
    written = root.take("format", str)
    if written != FORMAT:
        fix = "install the tiercut that wrote it, or export the model again"
        raise BundleError("the bundle is of another format", expected=FORMAT, came=repr(written)[:80], fix=fix)
    model = root.take("model", str)
    contents = Contents(
        name=root.take("name", str),
        files={name: _read_mark(root.under("files").under(name)) for name in (GRAPH_FILE, WEIGHTS_FILE)},
        frame=_read_frame(root.under("frame")),
        outputs=tuple(_read_output(item) for item in root.each("outputs")),
        labels=None if root.raw("labels") is None else root.texts("labels"),
        cuts=tuple(_read_cut(item, k) for k, item in enumerate(root.each("cuts"))),
    )
    _check_whole(contents)
    if identity(root.fields) != model:
        raise ChecksumError(
            f"'{JSON_FILE}' was changed after it was written",
            expected=f"model {model[:16]}…" if _SHA256.fullmatch(model) else "model as 64 hex digits",
            came=f"{identity(root.fields)[:16]}… from its contents",
            fix="copy the bundle again, or export the model again",
        )
    return model, contents


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _cut_document(cut: CutPoint) -> dict[str, Any]:
    return {
        "after": cut.after,
        "tensors": [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "bytes": t.bytes} for t in cut.tensors],
        "bytes": cut.bytes,
        "macs": cut.macs,
        "parameters": cut.parameters,
        "dominated": cut.dominated,
    }


class _Fields:
    """One object of the document, which says where it stands when a field of it is wrong."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise _bad(where or "the document", "an object", value)
        self.fields: dict[str, Any] = value
        self._where = where

    def path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def raw(self, key: str) -> object:
        if key not in self.fields:
            raise _bad(self.path(key), "the field", "none")
        return self.fields[key]

    def take(self, key: str, kind: type[_Field]) -> _Field:
        value = self.raw(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _bad(self.path(key), kind.__name__, value)
        return value

    def count(self, key: str) -> int:
        value = self.take(key, int)
        if value < 0:
            raise _bad(self.path(key), "a number >= 0", value)
        return value

    def number(self, key: str) -> float:
        value = self.raw(key)
        return _number(value, self.path(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(_number(value, self.path(key)) for value in self.take(key, list))

    def shape(self, key: str) -> tuple[int, ...]:
        values = self.take(key, list)
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in values):
            raise _bad(self.path(key), "whole numbers >= 0", values)
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.take(key, list)
        if not all(isinstance(text, str) for text in values):
            raise _bad(self.path(key), "a list of texts", values)
        return tuple(values)

    def choice(self, key: str, choices: tuple[_Field, ...]) -> _Field:
        value = self.raw(key)
        for choice in choices:
            if choice == value:
                return choice
        raise _bad(self.path(key), f"one of {choices}", value)

    def under(self, key: str) -> _Fields:
        return _Fields(self.raw(key), self.path(key))

    def each(self, key: str) -> list[_Fields]:
        return [_Fields(item, f"{self.path(key)}[{i}]") for i, item in enumerate(self.take(key, list))]


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad(where, "a number", value)
    return float(value)


def _read_mark(fields: _Fields) -> FileMark:
    sha256 = fields.take("sha256", str)
    if not _SHA256.fullmatch(sha256):
        raise _bad(fields.path("sha256"), "64 hex digits", sha256)
    return FileMark(fields.count("bytes"), sha256)


def _read_frame(fields: _Fields) -> FrameSpec:
    try:
        if fields.choice("kind", ("image", "tensor")) == "tensor":
            return FrameSpec(kind="tensor", shape=fields.shape("shape"), dtype=fields.take("dtype", str))
        size = fields.shape("size")
        return FrameSpec(
            size=(size[0], size[1]) if len(size) == 2 else (0, 0),  # noqa: PLR2004 - height and width
            channels=fields.count("channels"),
            resize=fields.choice("resize", ("crop", "stretch")),
            crop_ratio=fields.number("crop_ratio"),
            mean=fields.numbers("mean"),
            std=fields.numbers("std"),
        )
    except SettingsError as error:
        raise BundleError(error.what, expected=error.expected, came=error.came, fix="export the model again") from error


def _read_tensor(fields: _Fields) -> TensorSpec:
    return TensorSpec(fields.take("name", str), fields.shape("shape"), fields.choice("dtype", tuple(ITEM_BYTES)))


def _read_output(fields: _Fields) -> OutputSpec:
    tensor = _read_tensor(fields)
    return OutputSpec(tensor.name, tensor.shape, tensor.dtype, fields.choice("scores", SCORES))


def _read_cut(fields: _Fields, index: int) -> CutPoint:
    cut = CutPoint(
        index=index,
        after=None if fields.raw("after") is None else fields.take("after", str),
        tensors=tuple(_read_tensor(item) for item in fields.each("tensors")),
        macs=fields.count("macs"),
        parameters=fields.count("parameters"),
        dominated=fields.take("dominated", bool),
    )
    if fields.count("bytes") != cut.bytes:
        raise _bad(fields.path("bytes"), f"{cut.bytes}, the sum of its tensors", fields.raw("bytes"))
    return cut


def _check_whole(contents: Contents) -> None:
    """Check what no field can show alone."""
    cuts, outputs = contents.cuts, contents.outputs
    if not cuts or not cuts[0].tensors:
        raise _bad("cuts", "cut 0 with the model's inputs", [])
    ends = [(t.name, t.shape, t.dtype) for t in cuts[-1].tensors]
    if ends != [(out.name, out.shape, out.dtype) for out in outputs]:
        raise _bad("outputs", "the tensors of the last cut", [out.name for out in outputs])
    first = cuts[0].tensors[0]
    if (contents.frame.shape, contents.frame.dtype) != (first.shape, first.dtype):
        raise _bad("frame", f"the input '{first.name}' {first}", f"{contents.frame.dtype}{contents.frame.shape}")


def _bad(where: str, expected: str, came: object) -> BundleError:
    return BundleError(
        f"'{where}' in '{JSON_FILE}' is not valid",
        expected=expected,
        came=repr(came)[:80],
        fix="copy the bundle again, or export the model again",
    )
