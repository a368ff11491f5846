"""Writing a bundle: all files beside the target first, then one rename, so that no reader ever meets half of one."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import onnx

from tiercut.errors import ExportError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_files import STALE_S, sync, write_file
from tiercut.model.bundle_format import (
    GRAPH_FILE,
    JSON_FILE,
    OUTSIDE_BYTES,
    WEIGHTS_FILE,
    Contents,
    FileMark,
    to_document,
)

#: Weights begin at multiples of this, a cache line, so that kernels can read them where they are mapped.
ALIGNMENT = 64


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to write a bundle into; at the end it takes the place of ``target``, on an error it goes.

    Raises:
        ExportError: ``target`` is there and no bundle, or cannot be written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - a link that is the target itself is replaced, not followed
    _tidy_up(target)
    check_replaceable(target)
    stage = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.new"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage.mkdir()
    except OSError as error:
        raise _not_writable(target, error) from error
    try:
        yield stage
        _replace(target, stage)
    except OSError as error:
        raise _not_writable(target, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Part:
    """A graph to write.

    Attributes:
        model: Canonical model; its references are changed to point into the new file of weights.
        folder: Where its references point to now.
    """

    model: onnx.ModelProto
    folder: Path


def write_graphs(parts: Mapping[str, Part], stage: Path) -> None:
    """Write graphs and, outside of them, their weights in the order in which the nodes use them, equal ones once.

    Args:
        parts: File name → graph.
        stage: Folder to write to.
    """
    with (stage / WEIGHTS_FILE).open("wb") as file:
        places: dict[bytes, int] = {}
        for part in parts.values():
            for tensor in part.model.graph.initializer:
                data = onnx.numpy_helper.to_array(tensor, str(part.folder)).tobytes()
                _place(tensor, data, file, places)
        sync(file)
    for name, part in parts.items():
        write_file(stage / name, part.model.SerializeToString(deterministic=True))


def rewrite(
    bundle: Bundle,
    target: Path,
    contents: Contents,
    *,
    parts: Mapping[str, Part] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle again, changed; a bundle already at ``target`` is replaced whole, or left as it is on an error.

    Args:
        bundle: What there is.
        target: Folder of the new one; may be the bundle's own.
        contents: What its ``bundle.json`` is to say; the marks of its files follow from what is written.
        parts: All graphs of the new bundle, by file name, if a graph or a weight has changed.
        files: Further files that are new or other than before: those of learned codecs.

    Raises:
        ExportError: ``target`` cannot be written.
        BundleError: the new bundle does not hold together.
    """
    new = dict(files or {})
    codecs = [file for each in contents.codecs for file in (each.encoder, each.decoder)]
    graphs = [GRAPH_FILE, *(each.graph for each in contents.sizes)]
    with staged(target) as stage:
        if parts is not None:
            write_graphs({name: parts[name] for name in graphs}, stage)
        for name in [*([WEIGHTS_FILE, *graphs] if parts is None else []), *codecs]:
            write_file(stage / name, new[name] if name in new else (bundle.folder / name).read_bytes())
        marks = {name: mark(stage / name) for name in (GRAPH_FILE, WEIGHTS_FILE, *graphs[1:], *codecs)}
        write_contents(replace(contents, files=marks), stage)
        Bundle.load(stage).check_graphs()
    return Bundle.load(target)


def current_parts(bundle: Bundle) -> dict[str, Part]:
    """The graphs of a bundle as `rewrite` takes them, to be changed."""
    files = (GRAPH_FILE, *(each.graph for each in bundle.contents.sizes))
    return {name: Part(onnx.load(bundle.folder / name, load_external_data=False), bundle.folder) for name in files}


def mark(path: Path) -> FileMark:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        return FileMark(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def write_contents(contents: Contents, stage: Path) -> None:
    """Write ``bundle.json``, the last file: without it a folder is no bundle."""
    with (stage / JSON_FILE).open("wb") as file:
        file.write(json.dumps(to_document(contents), indent=1, ensure_ascii=False).encode())
        sync(file)


def _place(tensor: onnx.TensorProto, data: bytes, file: BinaryIO, places: dict[bytes, int]) -> None:
    """Put a weight into the file, or a small one into the graph."""
    plain = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if len(data) < OUTSIDE_BYTES:
        plain.raw_data = data
    else:
        digest = hashlib.sha256(data).digest()
        if digest not in places:
            file.write(bytes(-file.tell() % ALIGNMENT))
            places[digest] = file.tell()
            file.write(data)
        place = {"location": WEIGHTS_FILE, "offset": str(places[digest]), "length": str(len(data))}
        plain.data_location = onnx.TensorProto.EXTERNAL
        plain.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in place.items())
    tensor.CopyFrom(plain)


def _tidy_up(target: Path) -> None:
    """What a write that was killed has left: the old bundle comes back if it was gone, half of a new one goes."""
    hours_ago = time.time() - STALE_S
    for old in target.parent.glob(f".{glob.escape(target.name)}.*.old"):
        if not target.exists():
            old.rename(target)
        else:
            shutil.rmtree(old, ignore_errors=True)
    for stage in target.parent.glob(f".{glob.escape(target.name)}.*.new"):
        if stage.stat().st_mtime < hours_ago:  # a younger one may be another program's
            shutil.rmtree(stage, ignore_errors=True)


def check_replaceable(target: Path) -> None:
    """Replacing a folder deletes it, so only a bundle, or nothing, may be there."""
    if not target.exists() or (target / JSON_FILE).is_file():
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    raise ExportError(
        f"will not replace '{target}'",
        expected="a new folder, an empty one, or a bundle",
        came="something else that is already there",
        fix="choose another folder, or move this one away",
    )


def _replace(target: Path, stage: Path) -> None:
    """Put the stage where the target is; two renames, as Python has no exchange, undone if the second fails."""
    if not target.exists():
        stage.rename(target)
        return
    old = stage.with_suffix(".old")
    target.rename(old)
    try:
        stage.rename(target)
    except OSError:
        old.rename(target)
        raise
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _not_writable(target: Path, error: OSError) -> ExportError:
    return ExportError(
        f"cannot write the bundle '{target}'",
        expected="a place that can be written",
        came=(error.strerror or str(error)).lower(),
        fix="choose another folder, or make room",
    )
