"""Large pictures: what they may take of a node's memory, and that they are handled one at a time."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiercut.errors import InputError
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing import picture_payload
from tiercut.sensing.fusion import fused_frame
from tiercut.sensing.payloads import read_payload
from tiercut.sensing.picture_payload import MAX_SIDE
from tiercut.sensing.sensor_format import Captured, Spoiled

MAX_MB = 150
#: In a process of its own: pillow's memory is not Python's. Says the frame's shape or the reason, and the peak in MB.
PROGRAM = """
import resource, sys
import numpy as np
from tiercut.model.preprocess import FrameSpec
from tiercut.sensing.sensor_format import Spoiled
from tiercut.sensing.payloads import read_payload
from tiercut.protocol.stream_settings import SourceSettings

def kb(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

read, (file, size, room_mb) = read_payload(SourceSettings(sensor="mqtt", topic="a/b")), sys.argv[1:]
spec = FrameSpec(size=(int(size), int(size)), resize="stretch")
spec.to_input(np.zeros((9, 9, 3), np.uint8))
payload = open(file, "rb").read()
if room_mb != "0":
    resource.setrlimit(resource.RLIMIT_AS, ((kb("VmSize") + int(room_mb) * 1024) * 1024,) * 2)
before = kb("VmHWM")
item = read(payload, 0.0)
if isinstance(item, Spoiled):
    print(item.reason, end="")
else:
    print(*spec.to_input(item.frame).shape, sep="x", end="")
print("", (kb("VmHWM") - before) // 1024)
"""

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


def peak(file: Path, *, size: int = 224, room_mb: int = 0) -> tuple[str, int]:
    """What became of a picture, and the memory that it took at most, in MB."""
    arguments = [sys.executable, "-c", PROGRAM, str(file), str(size), str(room_mb)]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
    return said[0], int(said[1])


def saved(folder: Path, form: str, size: tuple[int, int], mode: str = "RGB", **more: Any) -> Path:
    file = folder / f"picture.{form}"
    Image.linear_gradient("L").resize(size).convert(mode).save(file, form, **more)
    return file


def read(payload: bytes) -> Captured | Spoiled:
    return read_payload(SourceSettings(sensor="mqtt", topic="a/b"))(payload, 0.0)


@linux
@pytest.mark.parametrize(
    ("form", "side", "mode", "more"),
    [
        ("jpeg", 4096, "RGB", {}),
        ("jpeg", 3600, "RGB", {"progressive": True, "subsampling": 0}),
        ("jpeg", 3300, "CMYK", {"progressive": True, "subsampling": 0}),
        ("png", 4096, "RGBA", {"compress_level": 1}),
        ("webp", 2850, "RGB", {"method": 0}),
    ],
)
def test_largest_picture_takes_limited_memory(
    tmp_path: Path, form: str, side: int, mode: str, more: dict[str, Any]
) -> None:
    said, took_mb = peak(saved(tmp_path, form, (side, side), mode, **more))
    assert said == "1x224x224x3"
    assert took_mb < MAX_MB


@linux
def test_long_thin_picture_takes_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "thin.png"
    Image.new("RGB", (1, 16_000_000)).save(file, compress_level=1)
    said, took_mb = peak(file)
    assert said == "too_large"
    assert took_mb < 10


@linux
def test_picture_that_memory_does_not_hold_is_spoiled(tmp_path: Path) -> None:
    assert peak(saved(tmp_path, "png", (4096, 4096)), room_mb=40)[0] == "too_large"


@linux
def test_texts_in_png_are_not_inflated(tmp_path: Path) -> None:
    text = zlib.compress("\N{ROCKET}".encode() + b"a" * 1_000_000)
    chunks = [b"iTXt%d\0\1\0\0\0" % number + text for number in range(60)]
    texts = b"".join((len(each) - 4).to_bytes(4) + each + zlib.crc32(each).to_bytes(4) for each in chunks)
    png = saved(tmp_path, "png", (64, 64)).read_bytes()
    (tmp_path / "texts.png").write_bytes(png[:33] + texts + png[33:])
    said, took_mb = peak(tmp_path / "texts.png")
    assert said == "1x224x224x3"
    assert took_mb < 20


@pytest.mark.parametrize(
    ("form", "size", "more"),
    [
        ("png", (MAX_SIDE + 1, 1), {}),
        ("png", (1, MAX_SIDE + 1), {}),
        ("webp", (2950, 2950), {"method": 0}),
        ("jpeg", (4096, 4096), {"subsampling": 0}),
    ],
)
def test_picture_over_its_formats_limit_is_spoiled(
    tmp_path: Path, form: str, size: tuple[int, int], more: dict[str, Any]
) -> None:
    item = read(saved(tmp_path, form, size, **more).read_bytes())
    assert isinstance(item, Spoiled)
    assert item.reason == "too_large"
    assert f"{size[0]}x{size[1]}" in item.message


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "RGB", "1"])
def test_picture_read_in_strips_is_the_whole_picture(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 1100, 3), dtype=np.uint8)
    image, file = Image.fromarray(noise).convert(mode), io.BytesIO()
    image.save(file, "png")
    item = read(file.getvalue())
    assert isinstance(item, Captured)
    assert np.array_equal(item.frame, np.asarray(image if mode == "L" else image.convert("RGB")))


def test_large_pictures_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    file, decode, under_way, most = io.BytesIO(), picture_payload._pixels, [0], [0]
    Image.new("L", (2100, 2100)).save(file, "png")

    def counted(image: Image.Image) -> Any:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        made = decode(image)
        under_way[0] -= 1
        return made

    monkeypatch.setattr(picture_payload, "_pixels", counted)
    threads = [threading.Thread(target=read, args=(file.getvalue(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@linux
@pytest.mark.parametrize(("shape", "max_mb"), [("1, 16_000_000", MAX_MB), ("16_000_000, 1", 250)])
def test_own_sensors_long_picture_takes_limited_memory(shape: str, max_mb: int) -> None:
    """Pillow takes 8 bytes for each row more."""
    start = PROGRAM.partition("payload = ")[0]
    rest = f'frame = np.full(({shape}, 3), 50, np.uint8)\nbefore = kb("VmHWM")\nmade = spec.to_input(frame)\n'
    rest += 'print(set(made.ravel().tolist()), (kb("VmHWM") - before) // 1024)'
    said = subprocess.run(
        [sys.executable, "-c", start + rest, "", "224", "0"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[0] == "{50}"
    assert int(said[1]) < max_mb


def test_own_sensors_large_picture_is_resized_as_a_whole() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (2300, 2000, 3), dtype=np.uint8)
    for channels, mode in ((3, "RGB"), (1, "L")):
        made = FrameSpec(size=(20, 30), resize="stretch", channels=channels).to_input(frame)[0]
        whole = Image.fromarray(frame).convert(mode).resize((30, 20), Image.Resampling.BICUBIC)
        assert np.array_equal(made.squeeze(), np.asarray(whole))


def test_frame_that_memory_does_not_hold_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "new", full)
    with pytest.raises(InputError, match="memory of this node"):
        FrameSpec().to_input(np.zeros((2000, 2000, 3), np.uint8))


def test_large_pictures_of_two_sensors_are_made_small_before_they_are_joined() -> None:
    spec, parts = FrameSpec(size=(8, 8), views=2), [Captured(np.full((2100, 2100, 3), 9, np.uint8))] * 2
    joined = fused_frame(parts, [], spec).frame
    assert joined.shape == (2, 8, 8, 3)
    assert set(spec.to_input(joined).ravel().tolist()) == {9}
