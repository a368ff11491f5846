"""The text of ``bundle.json``, version 1: its fields, and how each is checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from msgspec import Meta

from tiercut.declared import read
from tiercut.errors import BadEnvelope, BundleError, ChecksumError, SettingsError
from tiercut.model.cuts import Count, CutPoint
from tiercut.model.preprocess import FRAME_KINDS, FrameKind, FrameSpec
from tiercut.model.variants import ExitSpec, LearnedSpec, Leaving, OutputSpec, SizeSpec

JSON_FILE = "bundle.json"
FORMAT = "tiercut-bundle/1"
FIX = "copy the bundle again, or export the model again"
GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.data"
#: Weights of at least this many bytes are kept outside the graph file; smaller ones are shapes and constants.
OUTSIDE_BYTES = 1024

_FRAME_FIELDS: Mapping[FrameKind, tuple[str, ...]] = {
    "image": ("kind", "size", "channels", "resize", "crop_ratio", "mean", "std"),
    "signal": ("kind", "samples", "rate_hz", "channels", "channel_names", "units", "layout"),
    "tensor": ("kind", "shape", "dtype"),
}
_EXIT_FIELDS = ("name", "cut", "after", "macs", "parameters", "accuracy", "temperature", "calibration_error")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Name of a variant or a codec, as plans and messages may have it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
#: A file of the bundle: nothing outside of its folder, and no folder below that of the codecs.
_FILE = re.compile(r"(codecs/)?[A-Za-z0-9][A-Za-z0-9_.@+-]{0,127}")


@dataclass(frozen=True, slots=True)
class FileMark:
    """Size in bytes and SHA-256 in hex of a file of the bundle."""

    bytes: Count
    sha256: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            expected, came = "64 hex digits", repr(self.sha256)[:80]
            raise SettingsError("a file's 'sha256' is not valid", expected=expected, came=came, fix=FIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that ``bundle.json`` says, except for the format and the identity that follows from the rest.

    Attributes:
        name: What people call the model.
        files: Every file of the bundle but ``bundle.json``.
        frame: How a frame becomes the model's first input.
        outputs: What the whole model gives.
        labels: Names of the classes.
        cuts: Cut points of the whole model.
        accuracy: Of the whole model on held-back frames, 0..1; ``None`` where not measured.
        exits: Its early exits, from the first cut to the last.
        leaving: What leaves where at which threshold, by rising threshold.
        sizes: Variants for other input sizes.
        codecs: Codecs that were trained for it.
    """

    name: str
    files: Mapping[str, FileMark]
    frame: FrameSpec
    outputs: tuple[OutputSpec, ...]
    labels: tuple[str, ...] | None
    cuts: tuple[CutPoint, ...]
    accuracy: Annotated[float, Meta(ge=0, le=1)] | None = None
    exits: tuple[ExitSpec, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    sizes: tuple[SizeSpec, ...] = ()
    codecs: tuple[LearnedSpec, ...] = ()


def identity(document: Mapping[str, Any]) -> str:
    """SHA-256 in hex over the document, and so over its files' checksums; its name and this field itself left out.

    It changes whenever a result could: with the graph, a weight, the preprocessing, a label, a cut's number.
    """
    counted = {key: value for key, value in document.items() if key not in {"model", "name"}}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def to_document(contents: Contents) -> dict[str, Any]:
    """What to write into ``bundle.json``."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": contents.name,
        "files": {name: {"bytes": mark.bytes, "sha256": mark.sha256} for name, mark in contents.files.items()},
        "frame": _frame_document(contents.frame),
        "outputs": [_output_document(out) for out in contents.outputs],
        "labels": None if contents.labels is None else list(contents.labels),
        "cuts": [_cut_document(cut) for cut in contents.cuts],
        **{key: value for key, value in _extras(contents).items() if value not in (None, [])},
    }
    return {"model": identity(document), **document}


def _extras(contents: Contents) -> dict[str, Any]:
    """What most bundles do not have."""
    return {
        "accuracy": contents.accuracy,
        "exits": [
            {field: getattr(each, field) for field in _EXIT_FIELDS} | {"output": _output_document(each.output)}
            for each in contents.exits
        ],
        "leaving": [
            {"threshold": each.threshold, "shares": dict(each.shares), "accuracy": each.accuracy}
            for each in contents.leaving
        ],
        "sizes": [
            {
                "name": each.name,
                "graph": each.graph,
                "frame": _frame_document(each.frame),
                "outputs": [_output_document(out) for out in each.outputs],
                "cuts": [_cut_document(cut) for cut in each.cuts],
                "accuracy": each.accuracy,
            }
            for each in contents.sizes
        ],
        "codecs": [
            {field: _plain(getattr(each, field)) for field in ("name", "cut", "encoder", "decoder", "code", "inner")}
            for each in contents.codecs
        ],
    }


def from_document(document: object) -> tuple[str, Contents]:
    """Check a document and take it apart.

    Returns:
        The bundle's identity, and what it says.

    Raises:
        BundleError: a field is missing, or not what it should be; or the format is of another version.
        ChecksumError: the document was changed after it was written.
    """
    if not isinstance(document, dict):
        raise bad_field("the document", "an object", document)
    written = document.get("format")
    if written != FORMAT:
        fix = "install the tiercut that wrote it, or export the model again"
        raise BundleError("the bundle is of another format", expected=FORMAT, came=repr(written)[:80], fix=fix)
    model = str(document.get("model"))
    contents = _read_contents(document)
    _check_whole(contents)
    if identity(document) != model:
        raise ChecksumError(
            f"'{JSON_FILE}' was changed after it was written",
            expected=f"model {model[:16]}…" if _SHA256.fullmatch(model) else "model as 64 hex digits",
            came=f"{identity(document)[:16]}… from its contents",
            fix="copy the bundle again, or export the model again",
        )
    return model, contents


def _read_contents(document: Mapping[str, Any]) -> Contents:
    said = _prepared(document, "")
    if isinstance(sizes := document.get("sizes"), list):
        said["sizes"] = [_prepared(each, f"sizes[{i}].") for i, each in enumerate(sizes)]
    try:
        contents = read(Contents, said)
    except BadEnvelope as error:
        cause = error.__cause__  # what a part's own constructor refuses says which part
        what = cause.what if isinstance(cause, SettingsError) else f"'{JSON_FILE}' is not valid"
        raise BundleError(what, expected=error.expected, came=error.came, fix=FIX) from error
    for where, part, cuts in (
        ("", document, contents.cuts),
        *((f"sizes[{i}].", document["sizes"][i], each.cuts) for i, each in enumerate(contents.sizes)),
    ):
        for cut, written in zip(cuts, part["cuts"], strict=True):
            if written.get("bytes") != cut.bytes:
                expected = f"{cut.bytes}, the sum of its tensors"
                raise bad_field(f"{where}cuts[{cut.index}].bytes", expected, written.get("bytes"))
    return replace(contents, files={name: _mark(contents, name) for name in _needed(contents)})


def _prepared(part: Any, where: str) -> Any:
    """A document, or one of its input sizes, with each cut's number, and with those fields of its frame that count."""
    made = dict(part) if isinstance(part, dict) else part
    if isinstance(part, dict) and isinstance(cuts := part.get("cuts"), list):
        made["cuts"] = [cut | {"index": k} if isinstance(cut, dict) else cut for k, cut in enumerate(cuts)]
    if isinstance(part, dict) and isinstance(frame := part.get("frame"), dict) and frame.get("kind") in FRAME_KINDS:
        names = _FRAME_FIELDS[frame["kind"]]
        absent = [name for name in names if name not in frame]
        if absent:
            raise bad_field(f"{where}frame.{absent[0]}", "the field", None)
        made["frame"] = {name: frame[name] for name in (*names, "views") if name in frame}
    return made


def _needed(contents: Contents) -> list[str]:
    """The files of a bundle."""
    others = [("sizes.graph", each.graph) for each in contents.sizes]
    for each in contents.codecs:
        others += [("codecs.encoder", each.encoder), ("codecs.decoder", each.decoder)]
    for where, name in others:
        if not _FILE.fullmatch(name):
            raise bad_field(where, "a file of the bundle's folder", name)
    return [GRAPH_FILE, WEIGHTS_FILE, *(name for _, name in others)]


def _mark(contents: Contents, name: str) -> FileMark:
    if name not in contents.files:
        raise bad_field(f"files.{name}", "the field", None)
    return contents.files[name]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _frame_document(frame: FrameSpec) -> dict[str, Any]:
    views = {"views": frame.views} if frame.views > 1 else {}  # bundles of one view omit it, as they always did
    return {field: _plain(getattr(frame, field)) for field in _FRAME_FIELDS[frame.kind]} | views


def _output_document(out: OutputSpec) -> dict[str, Any]:
    return {"name": out.name, "shape": list(out.shape), "dtype": out.dtype, "scores": out.scores}


def _cut_document(cut: CutPoint) -> dict[str, Any]:
    return {
        "after": cut.after,
        "tensors": [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "bytes": t.bytes} for t in cut.tensors],
        "bytes": cut.bytes,
        "macs": cut.macs,
        "parameters": cut.parameters,
        "dominated": cut.dominated,
    }


def _check_whole(contents: Contents) -> None:
    """Check what no field can show alone."""
    _check_chain("", contents.cuts, contents.outputs, contents.frame)
    for size in contents.sizes:
        _check_chain(f"sizes.{size.name}.", size.cuts, size.outputs, size.frame)
    end = len(contents.cuts) - 1
    for exit_ in contents.exits:
        tensors = contents.cuts[exit_.cut].tensors if exit_.cut < end else ()
        if len(tensors) != 1:
            expected = f"a cut of 1 to {end - 1} with one tensor"
            raise bad_field(f"exits.{exit_.name}.cut", expected, f"cut {exit_.cut} with {len(tensors)} tensors")
    if list(contents.exits) != sorted(contents.exits, key=lambda each: each.cut):
        raise bad_field("exits", "exits from the first cut to the last", [each.cut for each in contents.exits])
    _check_names([*(each.name for each in contents.exits), *(each.name for each in contents.sizes)])
    _check_names([each.name for each in contents.codecs])
    if len({each.cut for each in contents.exits}) < len(contents.exits):
        raise bad_field("exits", "one exit at a cut", [each.cut for each in contents.exits])
    for learned in contents.codecs:
        if not 0 < learned.cut < end or len(contents.cuts[learned.cut].tensors) != 1:
            raise bad_field(f"codecs.{learned.name}.cut", f"a cut of 1 to {end - 1} with one tensor", learned.cut)
    _check_once("a variant", [*(each.name for each in contents.exits), *(each.name for each in contents.sizes)])
    _check_once("a codec", [each.name for each in contents.codecs])
    known = {"full", *(each.name for each in contents.exits)}
    for leaving in contents.leaving:
        if not leaving.shares.keys() <= known:
            raise bad_field("leaving.shares", f"shares of {sorted(known)}", sorted(leaving.shares))


def _check_names(names: list[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise bad_field("names", f"a name as {_NAME.pattern}", name)


def _check_once(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise bad_field("names", f"each name of {what} once", twice)


def _check_chain(where: str, cuts: tuple[CutPoint, ...], outputs: tuple[OutputSpec, ...], frame: FrameSpec) -> None:
    if not cuts or not cuts[0].tensors:
        raise bad_field(f"{where}cuts", "cut 0 with the model's inputs", [])
    if cuts[-1].tensors != tuple(out.tensor for out in outputs):
        raise bad_field(f"{where}outputs", "the tensors of the last cut", [out.name for out in outputs])
    first = cuts[0].tensors[0]
    if (frame.shape, frame.dtype) != (first.shape, first.dtype):
        raise bad_field(f"{where}frame", f"the input '{first.name}' {first}", f"{frame.dtype}{frame.shape}")


def bad_field(where: str, expected: str, came: object) -> BundleError:
    """The error for a field that is not what it should be."""
    return BundleError(f"'{where}' in '{JSON_FILE}' is not valid", expected=expected, came=repr(came)[:80], fix=FIX)
