"""Writing a bundle: all files beside the target first, then one rename, so that no reader ever meets half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import onnx

from tiercut.bundle_format import GRAPH_FILE, JSON_FILE, WEIGHTS_FILE, Contents, FileMark, to_document
from tiercut.canonical import OUTSIDE_BYTES
from tiercut.errors import ExportError

#: Weights begin at multiples of this, a cache line, so that kernels can read them where they are mapped.
ALIGNMENT = 64


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to write a bundle into; at the end it takes the place of ``target``, on an error it goes.

    Raises:
        ExportError: ``target`` is there and no bundle, or cannot be written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - a link that is the target itself is replaced, not followed
    _check_replaceable(target)
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


def write_graph(model: onnx.ModelProto, weights_folder: Path, stage: Path) -> None:
    """Write the graph and, outside of it, its weights in the order in which the nodes use them.

    Args:
        model: Canonical model; its references are changed to point into the new file.
        weights_folder: Where its references point to now.
        stage: Folder to write to.
    """
    with (stage / WEIGHTS_FILE).open("wb") as file:
        for tensor in model.graph.initializer:
            data = onnx.numpy_helper.to_array(tensor, str(weights_folder)).tobytes()
            _place(tensor, data, file)
        _sync(file)
    with (stage / GRAPH_FILE).open("wb") as file:
        file.write(model.SerializeToString(deterministic=True))
        _sync(file)


def mark(path: Path) -> FileMark:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        return FileMark(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def write_contents(contents: Contents, stage: Path) -> None:
    """Write ``bundle.json``, the last file: without it a folder is no bundle."""
    with (stage / JSON_FILE).open("wb") as file:
        file.write(json.dumps(to_document(contents), indent=1, ensure_ascii=False).encode())
        _sync(file)


def _place(tensor: onnx.TensorProto, data: bytes, file: BinaryIO) -> None:
    """Put a weight into the file, or a small one into the graph."""
    plain = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if len(data) < OUTSIDE_BYTES:
        plain.raw_data = data
    else:
        file.write(bytes(-file.tell() % ALIGNMENT))
        place = {"location": WEIGHTS_FILE, "offset": str(file.tell()), "length": str(len(data))}
        plain.data_location = onnx.TensorProto.EXTERNAL
        plain.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in place.items())
        file.write(data)
    tensor.CopyFrom(plain)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_replaceable(target: Path) -> None:
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
