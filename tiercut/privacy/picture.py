"""The picture of an attack: originals in the first row, and below what was rebuilt at each cut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tiercut.errors import SettingsError
from tiercut.files import write_whole
from tiercut.privacy.image_similarity import ImageSimilarity, Pixels
from tiercut.privacy.report import PrivacyReport

#: Sizes in pixels: a frame's longer side at least, between frames, the column of names, its text.
SIDE, GAP, NAMES, TEXT = 84, 6, 170, 15
SUFFIX = ".png"


def check_name(path: Path) -> None:
    """Check a picture's name before anything is measured.

    Raises:
        SettingsError: it does not end in .png.
    """
    if path.suffix.lower() != SUFFIX:
        fix = f"name it {path.with_suffix(SUFFIX)}"
        raise SettingsError("--picture is not valid", expected=f"a name ending in {SUFFIX}", came=str(path), fix=fix)


def draw(report: PrivacyReport, path: Path) -> None:
    """Write the picture, whole or not at all.

    Raises:
        SettingsError: it cannot be written.
    """
    rows = list(_rows(report))
    height, width = report.size
    scale = max(1, round(SIDE / max(report.size)))
    height, width = height * scale + GAP, width * scale + GAP
    canvas = Image.new("RGB", (NAMES + width * len(report.originals), GAP + height * len(rows)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for i, (name, frames) in enumerate(rows):
        top = GAP + i * height
        pen.multiline_text((GAP, top + height / 2), name, "black", font, anchor="lm", spacing=5)
        for j, frame in enumerate(frames):
            canvas.paste(_enlarged(frame, scale), (NAMES + j * width, top))
    file = io.BytesIO()
    canvas.save(file, "png")
    write_whole(path, file.getvalue())


def _rows(report: PrivacyReport) -> Iterator[tuple[str, Pixels]]:
    yield f"frames\n{report.model_name[:20]}", report.originals
    for leak in report.leaks:
        yield f"cut {leak.cut}\n{figures(leak.similarity)}", leak.shown


def figures(similarity: ImageSimilarity) -> str:
    """As people read them."""
    return f"{similarity.psnr_db:.1f} dB, SSIM {similarity.ssim:.2f}"


def _enlarged(frame: Pixels, scale: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame[:, :, 0] if frame.shape[2] == 1 else frame)).convert("RGB")
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
