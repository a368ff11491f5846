"""Folders of frames: every layout is read, and every damaged or unfit one is refused in a sentence."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tiercut.datasets import folders
from tiercut.datasets.folders import Samples, check_labels, for_model, load, need
from tiercut.errors import DataError

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, prefix: str = "train", *, packed: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for what, array in (("images-idx3", PIXELS), ("labels-idx1", LABELS)):
        path = folder / f"{prefix}-{what}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


def write_images(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), i, np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("prefix", "split"), [("train", "train"), ("t10k", "test"), ("test", "test")])
def test_idx_files_give_frames_and_labels(tmp_path: Path, prefix: str, split: folders.Split, packed: bool) -> None:
    samples = load(write_idx(tmp_path, prefix, packed=packed), split)
    assert [frame.tolist() for frame in samples.frames] == PIXELS.tolist()
    assert samples.labels is not None
    assert (samples.labels.tolist(), samples.labels.dtype.name) == (LABELS.tolist(), "int64")


def test_divided_folder_gives_its_test_part_unless_told(tmp_path: Path) -> None:
    write_idx(tmp_path, "train")
    assert folders.splits(tmp_path) == ("train",)
    assert len(load(tmp_path)) == 5
    write_idx(tmp_path, "t10k")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not read")
    assert len(load(tmp_path)) == 5


def test_idx_without_labels_has_none(tmp_path: Path) -> None:
    (write_idx(tmp_path) / "train-labels-idx1-ubyte.gz").unlink()
    assert load(tmp_path).labels is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:0], "got no bytes"),
        (lambda data: b"\x00\x00\x0d\x03" + data[4:], "got 00 00 0d 03"),
        (lambda data: data[:10], "header with 3 dimensions"),
        (lambda data: data[:-1], "expected 60 bytes"),
        (lambda data: data + b"x", "expected 60 bytes"),
        (lambda data: data[:4] + b"\xff" * 12, "got only 0|got 0"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_is_refused(tmp_path: Path, damage: object, said: str, packed: bool) -> None:
    assert callable(damage)
    data = damage(idx(PIXELS))
    path = write_idx(tmp_path, packed=packed) / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(idx(PIXELS))[:-12], gzip.compress(b"x")[:11]])
def test_damaged_gzip_is_refused(tmp_path: Path, data: bytes) -> None:
    (write_idx(tmp_path) / "train-images-idx3-ubyte.gz").write_bytes(data)
    with pytest.raises(DataError, match="no whole IDX file"):
        load(tmp_path)


def test_as_many_labels_as_frames_are_asked_for(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=False).joinpath("train-labels-idx1-ubyte").write_bytes(idx(LABELS[:4]))
    with pytest.raises(DataError, match=r"expected 5 labels, one per frame, got 4"):
        load(tmp_path)


def test_folders_of_images_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    samples = load(write_images(tmp_path, "test/dog/a.png", "test/cat/b.jpg", "test/cat/c.png"), "test")
    assert samples.names == ("cat", "dog")
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1]
    assert samples.frames[2].shape == (4, 6, 3)


def test_folders_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    samples = load(write_images(tmp_path, "10/a.png", "9/a.png", "2/b.png"))
    assert samples.names == ("2", "9", "10")
    labels = for_model(samples, 11, "m").labels
    assert labels is not None
    assert labels.tolist() == [2, 9, 10]


def test_flat_folder_has_no_labels_and_keeps_grey(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "grey.png")
    (tmp_path / "notes.txt").write_text("no image")
    samples = load(tmp_path)
    assert (samples.labels, len(samples)) == (None, 1)
    assert samples.frames[0].tolist() == PIXELS[0].tolist()


def test_images_are_read_when_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path, "good.png")
    (tmp_path / "worse.png").write_bytes(b"no image")
    samples = load(tmp_path)
    assert samples.frames[0].shape == (4, 6, 3)
    with pytest.raises(DataError, match=r"worse\.png.*expected an image"):
        samples.frames[1]


def test_arrays_are_mapped_and_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "train-frames.npy", np.ones((3, 1, 7), np.float32))
    np.save(tmp_path / "train-labels.npy", np.array([0, 2, 1]))
    assert load(tmp_path, "train").frames[1].shape == (1, 7)
    np.save(tmp_path / "train-frames.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(DataError, match="without objects"):
        load(tmp_path, "train")


@pytest.mark.parametrize("labels", [np.ones(3), np.ones((3, 2), int), np.array(1)])
def test_labels_are_one_whole_number_per_frame(tmp_path: Path, labels: NDArray[np.generic]) -> None:
    np.save(tmp_path / "frames.npy", np.ones((3, 7)))
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(DataError, match="one whole number per frame"):
        load(tmp_path)


def test_folder_that_is_not_there_empty_or_without_the_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing there"):
        load(tmp_path / "absent")
    with pytest.raises(DataError, match="an empty folder"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"no .test. part.*got only .train."):
        load(write_idx(tmp_path), "test")


@pytest.mark.parametrize("extra", ["loose.png", "empty/notes.txt"])
def test_folder_whose_classes_cannot_be_told_is_refused(tmp_path: Path, extra: str) -> None:
    write_images(tmp_path, "cat/a.png")
    (tmp_path / extra).parent.mkdir(exist_ok=True)
    (tmp_path / extra).write_bytes(b"")
    with pytest.raises(DataError, match="cannot tell the classes"):
        load(tmp_path)


def test_take_and_split_draw_the_same_again_and_share_nothing() -> None:
    samples = Samples(list(np.arange(40)), np.arange(40))
    few, again = samples.take(10, seed=3), samples.take(10, seed=3)
    assert [int(f) for f in few.frames] == [int(f) for f in again.frames]
    first, second = samples.split(0.25, seed=1)
    assert first.labels is not None
    assert [int(f) for f in first.frames] == first.labels.tolist()
    assert (len(first), len(second)) == (10, 30)
    assert {int(f) for f in first.frames} | {int(f) for f in second.frames} == set(range(40))


def test_labels_beyond_the_outputs_are_refused() -> None:
    samples = Samples(list(PIXELS), LABELS.astype(np.int64))
    check_labels(samples, 6, "net")
    with pytest.raises(DataError, match=r"outputs of 'net': expected labels from 0 to 4, got 5"):
        check_labels(samples, 5, "net")


def test_folders_named_as_the_models_classes_are_matched_by_name() -> None:
    samples = Samples([PIXELS] * 3, np.array([0, 1, 1]), ("cat", "dog"))
    matched = for_model(samples, 3, "net", ("dog", "fox", "cat"))
    assert matched.labels is not None
    assert matched.labels.tolist() == [2, 0, 0]
    with pytest.raises(DataError, match="got 'dog'"):
        for_model(samples, 2, "net", ("cat", "fox"))


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(DataError, match=r"the calibration set is too small: expected 6 frames or more, got 5"):
        need(Samples(list(PIXELS)), 6, "the calibration set")
