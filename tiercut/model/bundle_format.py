"""The text of ``bundle.json``, version 1: what stands in it, and how every field is checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiercut.errors import BundleError, ChecksumError, SettingsError
from tiercut.model.bundle_fields import JSON_FILE, Fields, bad_field
from tiercut.model.cuts import ITEM_BYTES, CutPoint, TensorSpec
from tiercut.model.preprocess import FRAME_KINDS, LAYOUTS, FrameKind, FrameSpec
from tiercut.model.variants import SCORES, ExitSpec, LearnedSpec, Leaving, OutputSpec, SizeSpec, check_part

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "tiercut-bundle/1"
GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.data"
#: Weights of at least so many bytes stand outside the graph file; smaller ones are shapes and constants.
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

    bytes: int
    sha256: str


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
        accuracy: Of the whole model on held-back frames, 0..1; ``None`` where nobody measured.
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
    accuracy: float | None = None
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
    root = Fields(document, "")
    written = root.take("format", str)
    if written != FORMAT:
        fix = "install the tiercut that wrote it, or export the model again"
        raise BundleError("the bundle is of another format", expected=FORMAT, came=repr(written)[:80], fix=fix)
    model = root.take("model", str)
    try:
        contents = _read_contents(root)
    except SettingsError as error:  # what a part's own constructor refuses
        raise BundleError(error.what, expected=error.expected, came=error.came, fix="export the model again") from error
    _check_whole(contents)
    if identity(root.fields) != model:
        raise ChecksumError(
            f"'{JSON_FILE}' was changed after it was written",
            expected=f"model {model[:16]}…" if _SHA256.fullmatch(model) else "model as 64 hex digits",
            came=f"{identity(root.fields)[:16]}… from its contents",
            fix="copy the bundle again, or export the model again",
        )
    return model, contents


def _read_contents(root: Fields) -> Contents:
    sizes = tuple(_read_size(item) for item in root.each_if("sizes"))
    codecs = tuple(_read_learned(item) for item in root.each_if("codecs"))
    others = [each.graph for each in sizes] + [file for each in codecs for file in (each.encoder, each.decoder)]
    files = root.under("files")
    return Contents(
        name=root.take("name", str),
        files={name: _read_mark(files.under(name)) for name in (GRAPH_FILE, WEIGHTS_FILE, *others)},
        frame=_read_frame(root.under("frame")),
        outputs=tuple(_read_output(item) for item in root.each("outputs")),
        labels=None if root.raw("labels") is None else root.texts("labels"),
        cuts=_read_cuts(root),
        accuracy=_read_part(root, "accuracy"),
        exits=tuple(_read_exit(item) for item in root.each_if("exits")),
        leaving=tuple(_read_leaving(item) for item in root.each_if("leaving")),
        sizes=sizes,
        codecs=codecs,
    )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _frame_document(frame: FrameSpec) -> dict[str, Any]:
    views = {"views": frame.views} if frame.views > 1 else {}  # bundles of one view say nothing of it, as they ever did
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


def _read_mark(fields: Fields) -> FileMark:
    sha256 = fields.take("sha256", str)
    if not _SHA256.fullmatch(sha256):
        raise bad_field(fields.path("sha256"), "64 hex digits", sha256)
    return FileMark(fields.count("bytes"), sha256)


def _read_frame(fields: Fields) -> FrameSpec:
    kind = fields.choice("kind", FRAME_KINDS)
    if kind == "tensor":
        return FrameSpec(kind=kind, shape=fields.shape("shape"), dtype=fields.take("dtype", str))
    if kind == "signal":
        return FrameSpec(
            kind=kind,
            samples=fields.count("samples"),
            rate_hz=fields.number("rate_hz"),
            channels=fields.count("channels"),
            channel_names=fields.texts("channel_names"),
            units=fields.texts("units"),
            layout=fields.choice("layout", LAYOUTS),
        )
    size = fields.shape("size")
    return FrameSpec(
        size=(size[0], size[1]) if len(size) == 2 else (0, 0),  # noqa: PLR2004 - height and width
        views=fields.count("views") if "views" in fields.fields else 1,
        channels=fields.count("channels"),
        resize=fields.choice("resize", ("crop", "stretch")),
        crop_ratio=fields.number("crop_ratio"),
        mean=fields.numbers("mean"),
        std=fields.numbers("std"),
    )


def _read_tensor(fields: Fields) -> TensorSpec:
    return TensorSpec(fields.take("name", str), fields.shape("shape"), fields.choice("dtype", tuple(ITEM_BYTES)))


def _read_output(fields: Fields) -> OutputSpec:
    tensor = _read_tensor(fields)
    return OutputSpec(tensor.name, tensor.shape, tensor.dtype, fields.choice("scores", SCORES))


def _read_cut(fields: Fields, index: int) -> CutPoint:
    cut = CutPoint(
        index=index,
        after=None if fields.raw("after") is None else fields.take("after", str),
        tensors=tuple(_read_tensor(item) for item in fields.each("tensors")),
        macs=fields.count("macs"),
        parameters=fields.count("parameters"),
        dominated=fields.take("dominated", bool),
    )
    if fields.count("bytes") != cut.bytes:
        raise bad_field(fields.path("bytes"), f"{cut.bytes}, the sum of its tensors", fields.raw("bytes"))
    return cut


def _read_cuts(fields: Fields) -> tuple[CutPoint, ...]:
    return tuple(_read_cut(item, k) for k, item in enumerate(fields.each("cuts")))


def _read_part(fields: Fields, key: str) -> float | None:
    value = None if fields.fields.get(key) is None else fields.number(key)
    check_part(value, fields.path(key))
    return value


def _read_exit(fields: Fields) -> ExitSpec:
    return ExitSpec(
        name=fields.take("name", str),
        cut=fields.count("cut"),
        output=_read_output(fields.under("output")),
        after=fields.take("after", str),
        macs=fields.count("macs"),
        parameters=fields.count("parameters"),
        accuracy=_read_part(fields, "accuracy"),
        temperature=fields.number("temperature"),
        calibration_error=_read_part(fields, "calibration_error"),
    )


def _read_leaving(fields: Fields) -> Leaving:
    shares = fields.under("shares")
    return Leaving(
        threshold=fields.number("threshold"),
        shares={name: shares.number(name) for name in shares.fields},
        accuracy=fields.number("accuracy"),
    )


def _read_size(fields: Fields) -> SizeSpec:
    return SizeSpec(
        name=fields.take("name", str),
        graph=_read_file(fields, "graph"),
        frame=_read_frame(fields.under("frame")),
        outputs=tuple(_read_output(item) for item in fields.each("outputs")),
        cuts=_read_cuts(fields),
        accuracy=_read_part(fields, "accuracy"),
    )


def _read_learned(fields: Fields) -> LearnedSpec:
    return LearnedSpec(
        name=fields.take("name", str),
        cut=fields.count("cut"),
        encoder=_read_file(fields, "encoder"),
        decoder=_read_file(fields, "decoder"),
        code=fields.shape("code"),
        inner=fields.take("inner", str),
    )


def _read_file(fields: Fields, key: str) -> str:
    name = fields.take(key, str)
    if not _FILE.fullmatch(name):
        raise bad_field(fields.path(key), "a file of the bundle's folder", name)
    return name


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
