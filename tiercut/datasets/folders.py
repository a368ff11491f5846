"""Labelled frames from a folder: MNIST's files, folders of images, or arrays.

    <folder>/train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]      IDX; test: t10k-… or test-…
    <folder>/train-frames.npy              train-labels.npy                  arrays; also frames.npy, labels.npy
    <folder>/train/<class>/*.jpg           test/… or val/…                   images, by class
    <folder>/<class>/*.jpg, <folder>/*.jpg                                   images that are not divided; without labels

Labels may be missing everywhere. Images are read when they are asked for, arrays and plain IDX files are mapped.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tiercut.datasets.idx import read_idx
from tiercut.datasets.samples import Frame, Frames, Samples, Stack, check_labels, for_model, need
from tiercut.errors import DataError
from tiercut.model.preprocess import IMAGE_SUFFIXES

__all__ = ["Samples", "Split", "check_labels", "for_model", "load", "need", "read_image", "splits"]

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: What files and folders of a split may be called: as MNIST's authors did, and as people do.
_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "t10k", "val")}
_LAYOUTS = "IDX files, <class>/*.jpg, images, or frames.npy with labels.npy"


class _Files(Frames):
    """Images as files."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__(len(files))
        self._files = files

    def _frame(self, index: int) -> Frame:
        return read_image(self._files[index])


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image as ``(height, width)`` where it is grey, else ``(height, width, 3)``.

    Raises:
        DataError: it is none.
    """
    from PIL import Image  # noqa: PLC0415 - arrays need no pillow

    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # pillow raises all of these
        fix = "replace the file, or remove it from the folder"
        raise DataError(f"cannot read '{path}'", expected="an image", came=str(error)[:120], fix=fix) from error


def load(folder: str | Path, split: Split | None = None) -> Samples:
    """Read a folder of frames.

    Args:
        folder: In one of the layouts above.
        split: Which part; ``None``: all of a folder that is not divided, of one that is the test part.

    Raises:
        DataError: it is not there, holds no frames, or damaged ones, or not this part.
    """
    path = Path(folder)
    _check_folder(path)
    there = splits(path)
    if split is None and there:
        split = "test" if "test" in there else "train"
    if split is not None and split not in there:
        came = f"only '{there[0]}'" if there else "a folder that is not divided into train and test"
        fix = "give a folder with that part, or divide this one"
        raise DataError(f"no '{split}' part in '{path}'", expected=_parts(split), came=came, fix=fix)
    for prefix in ("",) if split is None else _SPLIT_NAMES[split]:
        samples = _load_part(path, prefix)
        if samples is not None:
            return samples
    raise DataError(f"no frames in '{path}'", expected=_LAYOUTS, came=_listing(path), fix="give a folder of frames")


def splits(folder: str | Path) -> tuple[Split, ...]:
    """The parts that a folder is divided into; none: it is not divided."""
    path = Path(folder)
    return tuple(split for split in SPLITS if any(_has_part(path, name) for name in _SPLIT_NAMES[split]))


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        came = "a file" if path.exists() else "nothing there"
        raise DataError(f"cannot read frames from '{path}'", expected="a folder", came=came, fix="correct the path")


def _has_part(path: Path, name: str) -> bool:
    return _idx_file(path, name, "images") is not None or any(
        (path / there).exists() for there in (f"{name}-frames.npy", name)
    )


def _load_part(path: Path, prefix: str) -> Samples | None:
    """The part of that name in whatever layout it has, the whole folder for an empty name; ``None``: not there."""
    images = _idx_file(path, prefix, "images") if prefix else None
    if images is not None:
        return _load_idx(images, _idx_file(path, prefix, "labels"))
    frames = path / f"{prefix}-frames.npy" if prefix else path / "frames.npy"
    if frames.exists():
        return _load_arrays(frames, frames.with_name(frames.name.replace("frames", "labels")))
    return _load_images(path / prefix)


def _idx_file(path: Path, prefix: str, what: str) -> Path | None:
    """``train-images-idx3-ubyte``, also with a dot as some archives unpack it, plain or gzipped."""
    dimensions = 3 if what == "images" else 1
    names = (f"{prefix}-{what}{sign}idx{dimensions}-ubyte{end}" for sign in "-." for end in ("", ".gz"))
    return next((path / name for name in names if (path / name).is_file()), None)


def _load_idx(images: Path, labels: Path | None) -> Samples:
    frames = read_idx(images)
    if frames.ndim < 3 or 0 in frames.shape:  # noqa: PLR2004 - frames, height, width
        raise _bad_array(images, "frames of height and width", frames)
    numbers = None if labels is None else read_idx(labels)
    return _samples(frames, numbers, images, labels)


def _load_arrays(frames: Path, labels: Path) -> Samples:
    array = _load_array(frames)
    if array.ndim < 1 or not len(array):
        raise _bad_array(frames, "one frame or more along the first axis", array)
    return _samples(array, _load_array(labels) if labels.exists() else None, frames, labels)


def _load_array(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        fix = "write it with numpy.save, without objects"
        raise DataError(f"cannot read '{path}'", expected="an array", came=str(error)[:120], fix=fix) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"cannot read '{path}'", expected="an array", came="an archive", fix="write it with numpy.save")
    return array


def _samples(frames: NDArray[Any], labels: NDArray[Any] | None, path: Path, labels_path: Path | None) -> Samples:
    if labels is None or labels_path is None:
        return Samples(Stack(frames))
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise _bad_array(labels_path, "one whole number per frame", labels)
    if len(labels) != len(frames):
        raise DataError(
            f"'{labels_path}' does not belong to '{path.name}'",
            expected=f"{len(frames)} labels, one per frame",
            came=str(len(labels)),
            fix="put files of the same set into the folder",
        )
    return Samples(Stack(frames), labels.astype(np.int64))


def _load_images(path: Path) -> Samples | None:
    if not path.is_dir():
        return None
    loose = list(_images_in(path))
    classes = _in_order([entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")])
    by_class = {folder.name: list(_images_in(folder)) for folder in classes}
    if not any(by_class.values()):
        return Samples(_Files(loose)) if loose else None
    empty = next((name for name, files in by_class.items() if not files), None)
    if loose or empty is not None:
        raise DataError(
            f"cannot tell the classes in '{path}'",
            expected="a folder of images per class and nothing else",
            came=f"no images in '{empty}'" if empty is not None else f"'{loose[0].name}' beside the folders",
            fix="move what is no class elsewhere",
        )
    labels = np.repeat(np.arange(len(by_class), dtype=np.int64), [len(files) for files in by_class.values()])
    return Samples(_Files([file for files in by_class.values() for file in files]), labels, tuple(by_class))


def _images_in(path: Path) -> Iterator[Path]:
    return iter(sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()))


def _in_order(folders: list[Path]) -> list[Path]:
    """By number where all are numbers, so that 10 follows 9; else by name."""
    numbers = all(folder.name.isdecimal() for folder in folders)
    return sorted(folders, key=lambda folder: (int(folder.name) if numbers else 0, folder.name))


def _listing(path: Path) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}" or "an empty folder"  # noqa: PLR2004


def _parts(split: Split) -> str:
    return f"'{split}-images-idx3-ubyte', '{split}-frames.npy' or '{split}/'"


def _bad_array(path: Path, expected: str, array: NDArray[Any]) -> DataError:
    came = f"{array.dtype.name}{list(array.shape)}"
    return DataError(f"'{path}' does not hold frames and labels", expected=expected, came=came, fix="write it again")
