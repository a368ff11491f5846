"""How alike two images are: PSNR and SSIM, and what images score that need no attacker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from tiercut.codecs.table import codec

Pixels = NDArray[np.uint8]

#: Mean square error of rounding to whole pixel values: no image of uint8 is closer to another than this tells.
ROUNDING = 1 / 12
#: Sides and spread of the window of Wang et al. (IEEE TIP 2004, section III-C).
WINDOW, SIGMA = 11, 1.5
#: Smallest window that scikit-image takes.
MIN_WINDOW = 3
#: Frames with longer sides are compared at this size.
MAX_SIDE = 64
JPEG = "jpeg-15"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSimilarity:
    """How well frames were rebuilt, mean over frames.

    Attributes:
        psnr_db: Peak signal-to-noise ratio in dB, at most 58.9, where pixels differ by no more than rounding.
        ssim: Structural similarity, 1 for the same image (Wang et al., IEEE TIP 2004).
    """

    psnr_db: float
    ssim: float


def compare(rebuilt: Pixels, frames: Pixels) -> ImageSimilarity:
    """Compare images with images, ``(frames, height, width, channels)`` each."""
    apart = (rebuilt.astype(np.float64) - frames) ** 2
    errors = np.maximum(apart.mean(axis=(1, 2, 3)), ROUNDING)
    ssim = [_ssim(a, b) for a, b in zip(rebuilt, frames, strict=True)]
    return ImageSimilarity(psnr_db=float(np.mean(10 * np.log10(255**2 / errors))), ssim=float(np.mean(ssim)))


def as_compared(frames: Iterable[Pixels]) -> Pixels:
    """Frames at the size in which they are compared, ``(frames, height, width, channels)``.

    Args:
        frames: As the model takes them, ``(height, width, channels)`` each.
    """
    return np.stack([_shrink(frame) for frame in frames])


def mean_image(train: Pixels, count: int) -> Pixels:
    """What an attacker shows who saw many frames, but nothing of this one."""
    mean = np.rint(train.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    return np.broadcast_to(mean, (count, *mean.shape))


def as_jpeg(frames: Pixels) -> Pixels:
    """The frames as JPEG of quality 15: coarse, but everyone recognises what is on them."""
    jpeg = codec(JPEG)
    return np.stack([jpeg.decode(jpeg.encode(frame), dtype="uint8", shape=frame.shape) for frame in frames])


def too_small(size: Iterable[int]) -> bool:
    """Whether images of such sides cannot be compared by structure."""
    return min(size) < MIN_WINDOW


def _ssim(a: Pixels, b: Pixels) -> float:
    window = min(WINDOW, *a.shape[:2])
    settings: dict[str, Any] = {"win_size": window - 1 + window % 2}
    if window == WINDOW:
        settings = {"gaussian_weights": True, "sigma": SIGMA, "use_sample_covariance": False}
    measure: Any = structural_similarity  # without types
    return float(measure(a, b, data_range=255, channel_axis=2, **settings))


def _shrink(frame: Pixels) -> Pixels:
    """No side over `MAX_SIDE`; each pixel is the mean of an area."""
    height, width, channels = frame.shape
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(_plain(frame)).resize(size, Image.Resampling.BOX)
    return np.asarray(image).reshape(size[1], size[0], channels)


def _plain(frame: Pixels) -> Pixels:
    return frame[:, :, 0] if frame.shape[2] == 1 else frame
